"""Jobs that do nothing, events included: jobs a second, cost of dispatch, processor time and transactions a job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.measuring import Site, Table, await_all
from tests.benchmarks.peers import rows as peers
from tests.benchmarks.rounds import Figures, Row, interleave

JOBS = 1000


def run(site: Site) -> None:
    """The `database` driver with two worker processes, the `memory` driver in this one; the bare loop and the peers."""
    interleave(site, Table("no-op jobs"), list(_rows(site, site.count(JOBS))), rate="jobs/s")


def _rows(site: Site, count: int) -> Iterator[Row]:
    if site.postmaster is not None:
        yield Row("bare loop, 8 threads", lambda: _bare(site, count), "floor")
    yield Row("queue 'database', 2 processes x 4", lambda: _database(site, count), "ours")
    yield Row("queue 'memory', 4 threads of this process", lambda: _memory(site, count))
    yield from peers.noop(site, count)


def _bare(site: Site, count: int) -> Figures:
    from tests.benchmarks import bare

    before = site.cpu()
    figures = bare.noop(count)
    return {**figures, "CPU us/job": (site.cpu() - before) / count * 1e6}


def _database(site: Site, count: int) -> Figures:
    with site.workers() as workers:
        return measured(site, count, workers)


def _memory(site: Site, count: int) -> Figures:
    from django.test import override_settings

    from tests import settings

    with override_settings(DJANGO_AIS={**settings.DJANGO_AIS, "QUEUES": {"default": "memory"}}):
        return measured(site, count, [])


def measured(site: Site, count: int, workers: list[int]) -> Figures:
    """Dispatch one by one while the workers run; wait for the last."""
    from django_ais import jobs

    await_all([jobs.dispatch("echo", 0).id for _ in range(20)])
    cpu, xids, begun = site.cpu(workers), site.transactions(), time.perf_counter()
    ids = [jobs.dispatch("echo", {"n": number}).id for number in range(count)]
    dispatched = time.perf_counter() - begun
    await_all(ids)
    seconds = time.perf_counter() - begun
    return {
        "jobs/s": count / seconds,
        "dispatch us": dispatched / count * 1e6,
        "CPU us/job": (site.cpu(workers) - cpu) / count * 1e6,
        "xids/job": (site.transactions() - xids) / count,
    }


def measure(site: Site, table: Table, what: str, count: int, workers: list[int]) -> dict[str, Any]:
    """The same, as a row of a table."""
    figures = measured(site, count, workers)
    table.add(what, **figures)
    return figures
