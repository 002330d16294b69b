"""procrastinate: workers of coroutines that LISTEN; the client defers through a synchronous pool.

Tuned: pools of autocommitting connections that are not probed at each checkout (procrastinate's own do both), coroutine
tasks, and for throughput a poll of 0.1 s, because a notification that comes during a fetch is lost until the next poll.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

import procrastinate
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tests.benchmarks.peers import serving

CONCURRENCY = 4
CLOCK = "AIS_BENCH_CLOCK"  # the pipe through which a job says when it began
SUCCEEDED = "SELECT count(*) AS number FROM procrastinate_jobs WHERE status = 'succeeded'"
OPEN = "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')) AS open"


def _unprobed(**arguments: Any) -> Any:
    return AsyncConnectionPool(**{**arguments, "check": None, "configure": _autocommit})


async def _autocommit(connection: Any) -> None:
    await connection.set_autocommit(True)


def _connector(conninfo: str) -> Any:
    if serving.is_worker():
        return procrastinate.PsycopgConnector(
            conninfo=conninfo, pool_factory=_unprobed, min_size=1, max_size=CONCURRENCY
        )
    return procrastinate.SyncPsycopgConnector(conninfo=conninfo)


ADDRESS = serving.address("peer_procrastinate")
app = procrastinate.App(connector=_connector(ADDRESS))


@app.task(name="echo")
async def echo(n: int) -> int:
    return n


@app.task(name="clock")
async def clock() -> None:
    os.write(int(os.environ[CLOCK]), f"{time.time()}\n".encode())


def main() -> None:
    """The client; for a worker process, the worker."""
    if serving.is_worker():
        app.run_worker(concurrency=CONCURRENCY, fetch_job_polling_interval=float(sys.argv[2]))
        return
    processes, poll = int(sys.argv[1]), sys.argv[2]
    begun, clock_end = os.pipe()
    os.environ[CLOCK] = str(clock_end)
    with ConnectionPool(ADDRESS, min_size=1, max_size=1, kwargs={"autocommit": True}) as pool, app.open(pool):
        if not app.check_connection():
            app.schema_manager.apply_schema()
        with (
            serving.workers(
                [serving.__package__, "procrastinate_", "worker", poll], processes, pass_fds=[clock_end]
            ) as pids,
            os.fdopen(begun) as times,
        ):
            os.close(clock_end)  # so that a worker's end is the pipe's
            serving.serve(pids, noop=_noop, idle=lambda count: _idle(times, count))


def _noop(count: int) -> dict[str, Any]:
    return serving.noop(lambda number: echo.defer(n=number), _any_open, _succeeded, count)


def _any_open() -> bool:
    return bool(app.connector.get_sync_connector().execute_query_one(OPEN)["open"])


def _succeeded() -> int:
    return int(app.connector.get_sync_connector().execute_query_one(SUCCEEDED)["number"])


def _idle(times: Any, count: int) -> dict[str, Any]:
    """One job at a time after a random pause: milliseconds from dispatch to the first line."""
    waits = []
    for _ in range(count):
        time.sleep(random.uniform(0.05, 0.15))  # let it fall idle
        begun = time.time()
        clock.defer()
        waits.append((float(times.readline()) - begun) * 1000)
    return {"waits": waits}
