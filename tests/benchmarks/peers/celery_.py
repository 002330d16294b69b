"""Celery on Redis with django-celery-results: ``celery_ POOL PROCESSES CONCURRENCY``.

Tuned: ``CONN_MAX_AGE = None`` and ``CELERY_DB_REUSE_MAX``, else it connects to the database for each task; pool,
prefetch, gossip and mingle as our driver has them. A message is acknowledged before its task runs, which is Celery's
default: what a dead process held is lost.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import os
import sys
from typing import Any

from tests.benchmarks.peers import clock, serving

JOBS = f"{serving.__package__}.celery_jobs"


def main() -> None:
    """The client."""
    pool, processes, concurrency = sys.argv[1:]
    serving.address("peer_celery")
    os.environ["DJANGO_SETTINGS_MODULE"] = f"{serving.__package__}.celery_settings"
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    command = ["celery", "-A", JOBS, "worker", "-P", pool, "-c", concurrency, "--loglevel", "WARNING"]
    command += ["--without-gossip", "--without-mingle"]
    with clock.listening() as listener, serving.workers(command, int(processes), log="celery") as pids:
        serving.serve(pids, noop=_noop, idle=lambda count: _idle(listener, count))


def _noop(count: int) -> dict[str, Any]:
    """A task has no row before it has ended, so rows are counted."""
    from django_celery_results.models import TaskResult

    from tests.benchmarks.peers.celery_jobs import echo

    ended = TaskResult.objects.filter(status="SUCCESS")
    wanted = ended.count() + count
    return serving.noop(lambda number: echo.delay(number), lambda: ended.count() < wanted, ended.count, count)


def _idle(listener: int, count: int) -> dict[str, Any]:
    from tests.benchmarks.peers.celery_jobs import tell

    return clock.idle(listener, tell.delay, count)
