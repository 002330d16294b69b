"""``manage.py ais_prune``: forget what finished runs said long ago."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_ais import conf
from django_ais.runtime.retention import Pruned, prune_events, prune_runs


class Command(BaseCommand):
    help = (
        "Delete events of runs that finished more than EVENT_RETENTION_DAYS ago; a job's own events (job.*, run.*) "
        "stay as long as the job. With --runs-days, delete whole runs that finished before that."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say how old, and whether to do it."""
        parser.add_argument("--days", type=int, help="instead of the setting EVENT_RETENTION_DAYS")
        parser.add_argument("--runs-days", type=int, metavar="DAYS", help="delete whole runs that finished longer ago")
        parser.add_argument("--dry-run", action="store_true", help="count what would be deleted, and delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prune, and say how much."""
        days = options["days"] if options["days"] is not None else conf.current().event_retention_days
        for value, name in ((days, "--days"), (options["runs_days"], "--runs-days")):
            if value is not None and value < 0:
                raise CommandError(f"{name} must not be negative")
        dry = options["dry_run"]
        if options["runs_days"] is not None:
            self._say(prune_runs(timedelta(days=options["runs_days"]), dry_run=dry), dry=dry)
        if days is None:
            self.stdout.write("EVENT_RETENTION_DAYS is None: events are kept.")
        else:
            self._say(prune_events(timedelta(days=days), dry_run=dry), dry=dry)

    def _say(self, pruned: Pruned, *, dry: bool) -> None:
        verb = "would delete" if dry else "deleted"
        whole = f", {pruned.jobs} jobs and {pruned.steps} steps" if pruned.jobs else ""
        self.stdout.write(f"{verb} {pruned.events} events{whole} of {pruned.runs} runs")
