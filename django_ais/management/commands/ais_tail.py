"""``manage.py ais_tail RUN``: what a run says, one line an event, until it ends."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_ais import jobs
from django_ais.exceptions import JobNotFoundError
from django_ais.management import live, run_lines


class Command(BaseCommand):
    help = "Follow a run: one line an event, from the beginning or after a number, until the run has ended."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name the run."""
        parser.add_argument("run", help="a run's id, or the id of any job in it")
        parser.add_argument("--after", type=int, default=0, metavar="N", help="show events after this number")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print until the end."""
        try:
            root = jobs.get(jobs.get(options["run"]).root_id)
        except JobNotFoundError as error:
            raise CommandError(str(error)) from error
        tree = live.tree_of(root)
        for envelope in live.followed(root.id):
            if envelope is not None:
                node = tree.apply(envelope)
                if envelope.seq > options["after"]:
                    text = run_lines.line(envelope, node, since=root.created_at)
                    self.stdout.write(f"{envelope.seq:>6}  {text}")
