"""DBOS in process: a workflow of ten no-op steps, each recorded before the next begins; one with many children.

Tuned: no telemetry, no logging below errors, one kept connection for each thread that it uses. The queue of the
children is looked at every 20 ms, and eight of them run at once, as ours do.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import time
from typing import Any

from dbos import DBOS

from tests.benchmarks.peers import serving

QUEUE = "fan"
POLL_SECONDS = 0.02
AT_ONCE = 8


@DBOS.step()
def step(number: int) -> int:
    return number


@DBOS.workflow()
def workflow(each: int) -> int:
    return sum(step(number) for number in range(each))


@DBOS.workflow()
def child(number: int) -> int:
    return number


@DBOS.workflow()
def fan(children: int) -> int:
    queue: Any = DBOS.retrieve_queue(QUEUE)
    handles = [queue.enqueue(child, number) for number in range(children)]
    return sum(handle.get_result() for handle in handles)


def main() -> None:
    """The client."""
    parts = dict(part.split("=") for part in serving.address("peer_dbos").split())
    url = f"postgresql://{parts['user']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
    DBOS(config={"name": "peer", "system_database_url": url, "log_level": "ERROR", "enable_otlp": False})
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=POLL_SECONDS)
    try:
        serving.serve(steps=_steps, fan=_fan)
    finally:
        DBOS.destroy()


def _steps(workflows: int, each: int) -> dict[str, Any]:
    return serving.steps(lambda: workflow(each), workflows)


def _fan(children: int) -> dict[str, Any]:
    begun = time.perf_counter()
    assert fan(children) == sum(range(children))
    return {"seconds": time.perf_counter() - begun}
