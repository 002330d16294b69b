"""Dramatiq on Redis with django-dramatiq, whose AdminMiddleware keeps a row for each task.

``dramatiq_ PROCESSES THREADS``. Tuned: ``CONN_MAX_AGE = None``, no Prometheus, an idle process looks every 100 ms as
ours does, not every second. A row may say ``enqueued`` although its task is done: the dispatching process writes that
after it has sent the message. So the end is read from the broker, which forgets a message when it is acknowledged, and
that is after the row was written.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import os
import sys
from typing import Any

from tests.benchmarks.peers import clock, serving

HELD = "peer:default.msgs"


def main() -> None:
    """The client."""
    processes, threads = sys.argv[1:]
    serving.address("peer_dramatiq")
    os.environ["DJANGO_SETTINGS_MODULE"] = f"{serving.__package__}.dramatiq_settings"
    os.environ["dramatiq_worker_timeout"] = "100"  # noqa: SIM112 - its own spelling
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    command = ["dramatiq", "django_dramatiq.setup", f"{serving.__package__}.dramatiq_jobs"]  # what rundramatiq becomes
    command += ["-p", processes, "-t", threads]
    with clock.listening() as listener, serving.workers(command, 1, log="dramatiq") as pids:
        serving.serve(pids, noop=_noop, idle=lambda count: _idle(listener, count))


def _noop(count: int) -> dict[str, Any]:
    from django_dramatiq.models import Task

    from tests.benchmarks.peers.dramatiq_jobs import echo

    client: Any = echo.broker.client  # type: ignore[attr-defined]
    kept = Task.tasks.exclude(status__in=["failed", "skipped"])
    return serving.noop(lambda number: echo.send(number), lambda: client.hlen(HELD) > 0, kept.count, count)


def _idle(listener: int, count: int) -> dict[str, Any]:
    from tests.benchmarks.peers.dramatiq_jobs import tell

    return clock.idle(listener, tell.send, count)
