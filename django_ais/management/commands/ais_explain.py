"""``manage.py ais_explain JOB``: why a job is not running, in one sentence."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_ais import jobs
from django_ais.exceptions import JobNotFoundError
from django_ais.runtime.explaining import explain


class Command(BaseCommand):
    help = "Say in one sentence what a job is doing or waiting for, and what would move it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name the job."""
        parser.add_argument("job", help="a job's or run's id")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the sentence."""
        try:
            self.stdout.write(explain(jobs.get(options["job"])))
        except JobNotFoundError as error:
            raise CommandError(str(error)) from error
