"""No peer but ourselves, in the same conversation: one queue driver, a dispatching process and its workers.

``ours DRIVER PROCESSES CONCURRENCY [OPTION=VALUE ...]``. Workers are those that the driver's page tells to start; the
engines that make processes by themselves are started once.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from tests.benchmarks.peers import clock, serving

BROKERS = {
    "celery": ("broker_url", "REDIS"),
    "dramatiq": ("url", "REDIS"),
    "rq": ("url", "REDIS"),
    "nats": ("url", "NATS"),
}


def main() -> None:
    """The client."""
    driver, processes, concurrency, *more = sys.argv[1:]
    options: dict[str, Any] = dict(option.split("=") for option in more)
    if driver in BROKERS:
        name, server = BROKERS[driver]
        options[name] = os.environ[f"AIS_BENCH_{server}"]
    serving.address("bench_queues")
    os.environ.update(
        DJANGO_SETTINGS_MODULE=f"{serving.__package__}.ours_settings",
        AIS_TEST_QUEUE="django_tasks" if driver == "django_tasks" else "database",  # it brings applications of its own
        AIS_TEST_SETTINGS=json.dumps({"QUEUES": {"default": {"BACKEND": driver, "OPTIONS": options}}}),
    )
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    command = ["django", "ais_worker", "--concurrency", concurrency]
    if driver == "django_tasks":
        command = ["django", "db_worker", "--interval", "0.05", "--no-startup-delay", "--verbosity", "0"]
    with clock.listening() as listener, serving.workers(command, int(processes), log=driver) as pids:
        try:
            serving.serve(pids, noop=_noop, idle=lambda count: _idle(listener, count))
        finally:
            _leave()


def _noop(count: int) -> dict[str, Any]:
    from django_ais import jobs
    from django_ais.models import JobPacket

    ended = JobPacket.objects.filter(status="succeeded")
    return serving.noop(
        lambda number: jobs.dispatch("echo", {"n": number}), JobPacket.objects.open().exists, ended.count, count
    )


def _idle(listener: int, count: int) -> dict[str, Any]:
    from django_ais import jobs

    return clock.idle(listener, lambda: jobs.dispatch("bench.tell"), count)


def _leave() -> None:
    from django_ais import registry
    from django_ais.runtime.host import host

    registry.queues.reset()
    host.stop()
