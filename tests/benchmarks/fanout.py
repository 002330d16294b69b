"""One job with many children and a join."""

from __future__ import annotations

import time

from tests.benchmarks.measuring import Site, Table, await_all
from tests.benchmarks.peers import rows as peers
from tests.benchmarks.rounds import Figures, Row, interleave

FEW, MANY = 500, 10_000


def run(site: Site) -> None:
    """Seconds from dispatch to the parent's end, on two worker processes; the few beside peers."""
    few, many = site.count(FEW), site.count(MANY)
    rows = [
        Row(f"{few} children, 2 processes x 4", lambda: _fan(site, few), "ours"),
        Row(f"{many} children, 2 processes x 4", lambda: _fan(site, many)),
        *peers.fan(site, few),
    ]
    interleave(site, Table(f"fan-out and join, peers with {few} children"), rows, rate="")


def _fan(site: Site, count: int) -> Figures:
    from django_ais import jobs

    with site.workers() as workers:
        await_all([jobs.dispatch("echo", 0).id for _ in range(20)])
        cpu, begun = site.cpu(workers), time.perf_counter()
        await_all([jobs.dispatch("bench.fan", count).id])
        seconds = time.perf_counter() - begun
        used = (site.cpu(workers) - cpu) / count * 1e6
    return {"s": seconds, "children/s": count / seconds, "CPU us/child": used}
