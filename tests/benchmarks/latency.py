"""How long an idle system takes from dispatch to the job's first line, and what idling costs."""

from __future__ import annotations

import random
import time

from tests.benchmarks.measuring import Site, Table, await_all, percentile

JOBS = 100


def run(site: Site) -> None:
    """One job at a time, after a random pause; then ten seconds of nothing."""
    from django_ais import jobs

    table = Table("idle: dispatch to start")
    with site.workers(processes=1) as workers:
        await_all([jobs.dispatch("bench.clock").id for _ in range(10)])
        waits = []
        for _ in range(site.count(JOBS)):
            time.sleep(random.uniform(0.05, 0.15))  # let it fall idle
            begun = time.time()
            job = jobs.dispatch("bench.clock")
            await_all([job.id])
            waits.append((jobs.get(job).result - begun) * 1000)
        table.add(
            "queue 'database', 1 process", **{"p50 ms": percentile(waits, 0.5), "p99 ms": percentile(waits, 0.99)}
        )
        cpu, begun = site.cpu(workers), time.perf_counter()
        time.sleep(10 * site.scale)
        table.add("the same, idle", **{"CPU %": (site.cpu(workers) - cpu) / (time.perf_counter() - begun) * 100})
