"""RQ with django-rq's ``rqworker``: ``rq_ PROCESSES``. A process is forked for each job, as with our driver.

It has no store in the database: results lie in Redis, so nothing here is durable.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import os
import sys
from typing import Any

from tests.benchmarks.peers import clock, serving
from tests.benchmarks.peers.rq_jobs import echo, tell

KEPT_SECONDS = 86_400  # longer than a run, or the results of earlier rounds vanish while they are counted


def main() -> None:
    """The client."""
    os.environ["DJANGO_SETTINGS_MODULE"] = f"{serving.__package__}.rq_settings"
    import django

    django.setup()
    command = ["django", "rqworker", "peer", "--verbosity", "0"]
    with clock.listening() as listener, serving.workers(command, int(sys.argv[1]), log="rq") as pids:
        serving.serve(pids, noop=_noop, idle=lambda count: _idle(listener, count))


def _noop(count: int) -> dict[str, Any]:
    import django_rq

    queue = django_rq.get_queue("peer")
    ended = queue.finished_job_registry.get_job_count
    wanted = ended(cleanup=False) + count
    return serving.noop(
        lambda number: queue.enqueue(echo, number, result_ttl=KEPT_SECONDS),
        lambda: ended(cleanup=False) < wanted,
        lambda: ended(cleanup=False),
        count,
    )


def _idle(listener: int, count: int) -> dict[str, Any]:
    import django_rq

    queue = django_rq.get_queue("peer")
    return clock.idle(listener, lambda: queue.enqueue(tell, result_ttl=0), count)
