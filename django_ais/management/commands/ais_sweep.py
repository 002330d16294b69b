"""``manage.py ais_sweep``: one round of the sweep that every worker process does by itself."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from django_ais.management.worker_process import require_database
from django_ais.management.workflow_files import counted
from django_ais.runtime import relay


class Command(BaseCommand):
    help = (
        "Do one round of the sweep: queue the jobs of dead worker processes again, end what is past its time limit, "
        "announce what no queue was told of. Worker processes do this by themselves."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Sweep once and say on how many jobs."""
        require_database()
        self.stdout.write(f"The sweep acted on {counted(relay.sweep(), 'job')}.")
