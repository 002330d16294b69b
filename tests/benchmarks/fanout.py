"""One job with many children and a join; a workflow with a foreach of as many items."""

from __future__ import annotations

import time

from tests.benchmarks.measuring import Site, Table, await_all

CHILDREN = (500, 10_000)


def run(site: Site) -> None:
    """Seconds from dispatch to the parent's end, on two worker processes."""
    from django_ais import jobs

    table = Table("fan-out and join, 2 processes x 4")
    with site.workers() as workers:
        await_all([jobs.dispatch("echo", 0).id for _ in range(20)])
        for children in CHILDREN:
            count = site.count(children)
            cpu, begun = site.cpu(workers), time.perf_counter()
            await_all([jobs.dispatch("bench.fan", count).id])
            seconds = time.perf_counter() - begun
            used = (site.cpu(workers) - cpu) / count * 1e6
            table.add(f"{count} children", **{"s": seconds, "children/s": count / seconds, "CPU us/child": used})
