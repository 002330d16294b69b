"""Jobs that talk: many streams at once from one worker process, committed in groups."""

from __future__ import annotations

import time

from tests.benchmarks.measuring import Site, Table, await_all, one

STREAMS = (100, 300)
SECONDS, PER_SECOND = 10, 20


def run(site: Site) -> None:
    """Deltas said, rows written and commits a second while 100 and 300 jobs talk."""
    from django_ais import jobs

    table = Table(f"streams of {PER_SECOND} deltas a second")
    for streams in STREAMS:
        count = site.count(streams)
        seconds = max(SECONDS * site.scale, 2)
        with site.workers(processes=1, concurrency=count) as workers:
            before = int(one("SELECT count(*) FROM django_ais_agentevent"))
            cpu, xids, begun = site.cpu(workers), site.transactions(), time.perf_counter()
            talk = {"seconds": seconds, "per_second": PER_SECOND}
            await_all([job.id for job in jobs.dispatch_many("bench.talk", [talk] * count)])
            took = time.perf_counter() - begun
            rows = int(one("SELECT count(*) FROM django_ais_agentevent")) - before
            table.add(
                f"{count} jobs, {seconds:.0f} s each",
                **{
                    "deltas/s": count * seconds * PER_SECOND / took,
                    "rows/s": rows / took,
                    "writing transactions/s": (site.transactions() - xids) / took,
                    "CPU %": (site.cpu(workers) - cpu) / took * 100,
                },
            )
