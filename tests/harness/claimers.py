"""Two worker processes that meet at a barrier before each job and then both try to claim it.

Imported by the processes too, before Django is set up: what needs it is imported inside.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

PATIENCE = 60.0  # seconds
PROCESSES = 2


class Try(NamedTuple):
    """One process's try to claim one job; times by the machine's monotonic clock, in seconds."""

    job: str
    begun: float
    ended: float
    won: bool


class Race(NamedTuple):
    """What happened to one job."""

    job: str
    tries: list[Try]

    @property
    def winners(self) -> int:
        return sum(each.won for each in self.tries)

    @property
    def collided(self) -> bool:
        """Whether every process tried, and all of them at the same moment."""
        latest_begin = max(each.begun for each in self.tries)
        return len(self.tries) == PROCESSES and latest_begin < min(each.ended for each in self.tries)


class Arena:
    """Runs batches of jobs in all processes at once."""

    def __init__(self, lanes: Sequence[Any]) -> None:
        self._lanes = lanes

    def run(self, jobs: Sequence[str]) -> list[Race]:
        """Let every process handle these jobs, in step; return what became of each."""
        for lane in self._lanes:
            lane.send(list(jobs))
        told = [{each.job: each for each in self._receive(lane)} for lane in self._lanes]
        return [Race(job, [tries[job] for tries in told if job in tries]) for job in jobs]

    def _receive(self, lane: Any) -> list[Try]:
        if not lane.poll(PATIENCE):
            raise TimeoutError("a claiming process did not answer")
        return [Try(*each) for each in lane.recv()]


@contextmanager
def arena() -> Iterator[Arena]:
    """Start the processes; they end with the block."""
    spawning = multiprocessing.get_context("spawn")
    barrier = spawning.Barrier(PROCESSES)
    pipes = [spawning.Pipe() for _ in range(PROCESSES)]
    processes = [spawning.Process(target=_claim_in_step, args=(barrier, theirs), daemon=True) for _, theirs in pipes]
    for process in processes:
        process.start()
    try:
        yield Arena([ours for ours, _ in pipes])
    finally:
        for ours, _ in pipes:
            ours.send(None)
        for process in processes:
            process.join(PATIENCE)
            process.kill()  # nothing, if it has ended
            process.join()
            process.close()
        for pair in pipes:
            for end in pair:
                end.close()


def _claim_in_step(barrier: Any, lane: Any) -> None:
    import django

    django.setup()
    from django_ais.runtime import lifecycle, relay, runner
    from django_ais.runtime.host import host

    tries: list[Try] = []
    claim = lifecycle.claim

    def watched(job_id: Any, **options: Any) -> Any:
        begun = time.monotonic()
        claimed = claim(job_id, **options)
        tries.append(Try(str(job_id), begun, time.monotonic(), claimed is not None))
        return claimed

    lifecycle.claim = watched
    relay.sweeper.start = lambda: None  # type: ignore[method-assign]
    while (jobs := lane.recv()) is not None:
        for job in jobs:
            barrier.wait(PATIENCE)
            runner.handle(job)
        lane.send([tuple(each) for each in tries])
        tries.clear()
    host.stop()
