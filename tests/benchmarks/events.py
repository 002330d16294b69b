"""Jobs that talk: many streams at once from one worker process, committed in groups."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.measuring import Site, Table, await_all, one
from tests.benchmarks.rounds import Figures

STREAMS = (100, 300)
SECONDS, PER_SECOND = 10, 20
PATIENCE = 60.0  # seconds for what was said to be written, beyond twice the time of the talk


def run(site: Site) -> None:
    """Deltas said, rows written and commits a second while 100 and 300 jobs talk."""
    table = Table(f"streams of {PER_SECOND} deltas a second")
    for streams in STREAMS:
        count = site.count(streams)
        seconds = max(SECONDS * site.scale, 2)
        with site.workers(processes=1, concurrency=count) as workers:
            figures = Talk(site, workers, count, seconds=seconds, per_second=PER_SECOND).figures()
        table.add(f"{count} jobs, {seconds:.0f} s each", **figures)


class Talk:
    """Jobs that say deltas at a pace, from their dispatch on. ``pids``: whose processor time is counted too."""

    def __init__(
        self, site: Site, pids: Sequence[int], count: int, *, seconds: float, per_second: int, user: Any = None
    ) -> None:
        from django_ais import jobs

        self._site, self._pids = site, pids
        self._offered = int(count * seconds * per_second)
        self._seconds = seconds
        self._rows = _rows()
        self._cpu, self._xids, self._begun = site.cpu(pids), site.transactions(), time.perf_counter()
        talk = {"seconds": seconds, "per_second": per_second}
        self.runs = [job.id for job in jobs.dispatch_many("bench.talk", [talk] * count, user=user)]

    def figures(self) -> Figures:
        """Once all have ended. A delta is in time if its job could say it before its seconds were over; what was said
        is committed.
        """
        from django_ais.models import JobPacket

        await_all(self.runs, seconds=2 * self._seconds + PATIENCE)
        took = time.perf_counter() - self._begun
        cpu, commits = self._site.cpu(self._pids) - self._cpu, self._site.transactions() - self._xids
        rows = _rows() - self._rows
        said = sum(
            result or 0 for result in JobPacket.objects.filter(id__in=self.runs).values_list("result", flat=True)
        )
        return {
            "deltas/s": said / took,
            "in time %": said / self._offered * 100,
            "rows/s": rows / took,
            "writing transactions/s": commits / took,
            "rows/delta": rows / max(said, 1),
            "transactions/delta": commits / max(said, 1),
            "CPU %": cpu / took * 100,
        }


def _rows() -> int:
    return int(one("SELECT count(*) FROM django_ais_agentevent"))
