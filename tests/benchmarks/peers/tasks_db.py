"""django-tasks-db: `db_worker` processes that run one job at a time and poll when there is none.

Tuned: ``CONN_MAX_AGE = None``, no delay at the start, a poll of 0.05 s instead of 1 s. A process has no threads,
so it is run with as many processes as ours (2), and with as many as ours have threads (8).
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import os
import sys
from typing import Any

from tests.benchmarks.peers import clock, serving


def main() -> None:
    """The client."""
    serving.address("peer_tasks_db")
    os.environ["DJANGO_SETTINGS_MODULE"] = f"{serving.__package__}.tasks_db_settings"
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    processes, poll = int(sys.argv[1]), sys.argv[2]
    command = ["django", "db_worker", "--interval", poll, "--no-startup-delay", "--verbosity", "0"]
    with clock.listening() as listener, serving.workers(command, processes, log="tasks-db") as pids:
        serving.serve(pids, noop=_noop, idle=lambda count: _idle(listener, count))


def _noop(count: int) -> dict[str, Any]:
    from django_tasks_db.models import DBTaskResult

    from tests.benchmarks.peers.tasks_db_jobs import echo

    waiting = DBTaskResult.objects.filter(status__in=["READY", "RUNNING"])
    ended = DBTaskResult.objects.filter(status="SUCCESSFUL")
    return serving.noop(lambda number: echo.enqueue(n=number), waiting.exists, ended.count, count)


def _idle(listener: int, count: int) -> dict[str, Any]:
    from tests.benchmarks.peers.tasks_db_jobs import tell

    return clock.idle(listener, tell.enqueue, count)
