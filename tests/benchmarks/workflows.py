"""Workflows of ten jobs in a row, many at once."""

from __future__ import annotations

import time

from tests.benchmarks.measuring import Site, Table, await_all

RUNS, JOBS = 100, 10


def run(site: Site) -> None:
    """Runs and jobs a second on two worker processes."""
    from django_ais import jobs
    from django_ais.runtime import catalog
    from django_ais.workflows import loader

    lines = "\n".join(f"  - {{id: j{number}, type: echo}}" for number in range(JOBS))
    spec = loader.load(f"name: bench-ten\njobs:\n{lines}\n").require()
    catalog.store(spec, source="")
    table = Table(f"workflows of {JOBS} jobs, 2 processes x 4")
    count = site.count(RUNS)
    with site.workers() as workers:
        await_all([jobs.start("bench-ten", {"n": 0}).id])
        cpu, xids, begun = site.cpu(workers), site.transactions(), time.perf_counter()
        await_all([jobs.start("bench-ten", {"n": number}).id for number in range(count)])
        seconds = time.perf_counter() - begun
        table.add(
            f"{count} runs",
            **{
                "runs/s": count / seconds,
                "jobs/s": count * JOBS / seconds,
                "CPU us/job": (site.cpu(workers) - cpu) / count / JOBS * 1e6,
                "xids/job": (site.transactions() - xids) / count / JOBS,
            },
        )
