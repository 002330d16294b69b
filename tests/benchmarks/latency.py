"""How long an idle system takes from dispatch to the job's first line, and what idling costs."""

from __future__ import annotations

import random
import time

from tests.benchmarks.measuring import Site, Table, await_all, percentile
from tests.benchmarks.peers import rows as peers
from tests.benchmarks.rounds import Figures, Row, interleave

JOBS = 100


def run(site: Site) -> None:
    """One job at a time, after a random pause; then ten seconds of nothing."""
    count = site.count(JOBS)
    ours = Row("queue 'database', 1 process", lambda: _ours(site, count), "ours")
    interleave(site, Table("idle: dispatch to start"), [ours, *peers.idle(site, count)], rate="")


def _ours(site: Site, count: int) -> Figures:
    from django_ais import jobs

    with site.workers(processes=1) as workers:
        await_all([jobs.dispatch("bench.clock").id for _ in range(10)])
        waits = []
        for _ in range(count):
            time.sleep(random.uniform(0.05, 0.15))  # let it fall idle
            begun = time.time()
            job = jobs.dispatch("bench.clock")
            await_all([job.id])
            waits.append((float(jobs.get(job).result or 0) - begun) * 1000)
        cpu, begun = site.cpu(workers), time.perf_counter()
        time.sleep(10 * site.scale)
        used = (site.cpu(workers) - cpu) / (time.perf_counter() - begun) * 100
    return {"p50 ms": percentile(waits, 0.5), "p99 ms": percentile(waits, 0.99), "idle CPU %": used}
