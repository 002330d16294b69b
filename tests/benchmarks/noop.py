"""Jobs that do nothing, events included: jobs a second, cost of dispatch, processor time and transactions a job."""

from __future__ import annotations

import time
from typing import Any

from tests.benchmarks.measuring import Site, Table, await_all

JOBS = 1000


def run(site: Site) -> None:
    """The `database` driver with two worker processes, the `memory` driver in this one; beside the bare loop."""
    from django.test import override_settings

    from tests import settings

    table = Table("no-op jobs")
    count = site.count(JOBS)
    floor = _bare(site, table, count)
    with site.workers() as workers:
        measure(site, table, "queue 'database', 2 processes x 4", count, workers, floor)
    with override_settings(DJANGO_AIS={**settings.DJANGO_AIS, "QUEUES": {"default": "memory"}}):
        measure(site, table, "queue 'memory', 4 threads of this process", count, [], floor)


def _bare(site: Site, table: Table, count: int) -> float:
    if site.postmaster is None:
        return 0.0
    from tests.benchmarks import bare

    before = site.cpu()
    figures = bare.noop(count)
    table.add("bare loop, 8 threads", **figures, **{"CPU us/job": (site.cpu() - before) / count * 1e6})
    return figures["jobs/s"]


def measure(site: Site, table: Table, what: str, count: int, workers: list[int], floor: float) -> dict[str, Any]:
    """Dispatch one by one while the workers run; wait for the last."""
    from django_ais import jobs

    await_all([jobs.dispatch("echo", 0).id for _ in range(20)])
    cpu, xids, begun = site.cpu(workers), site.transactions(), time.perf_counter()
    ids = [jobs.dispatch("echo", {"n": number}).id for number in range(count)]
    dispatched = time.perf_counter() - begun
    await_all(ids)
    seconds = time.perf_counter() - begun
    figures = {
        "jobs/s": count / seconds,
        "dispatch us": dispatched / count * 1e6,
        "CPU us/job": (site.cpu(workers) - cpu) / count * 1e6,
        "xids/job": (site.transactions() - xids) / count,
    }
    if floor:
        figures["of the bare loop"] = figures["jobs/s"] / floor
    table.add(what, **figures)
    return figures
