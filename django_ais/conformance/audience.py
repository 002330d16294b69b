"""Runs that speak in worker processes, and followers here who must read every event of them once, in order."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from django_ais.buses import BaseBus, Reconnected, Subscription
from django_ais.conformance.bus_bench import BusBench, Run
from django_ais.events import Envelope

WORKERS, CONCURRENCY = 2, 4
SECONDS = 90.0  # for everything to be read on a busy machine


@dataclass
class Reader:
    """A follower of a run, from its first event to its last."""

    run: Run
    task: asyncio.Task[list[Envelope]]
    ended_at: float = 0.0  # on the machine's monotonic clock


class Audience:
    """Worker processes that speak, or threads where the bus stays in this process; and who listens."""

    def __init__(self, bench: BusBench) -> None:
        self.bench = bench
        self.readers: list[Reader] = []
        if bench.bus.crosses_processes:
            self.keep()

    def keep(self) -> None:
        """Replace worker processes that have died."""
        self.bench.workers[:] = [worker for worker in self.bench.workers if worker.is_alive]
        while len(self.bench.workers) < WORKERS:
            self.bench.hire(concurrency=CONCURRENCY)

    async def speak(self, count: int, **payload: Any) -> list[Run]:
        """Dispatch runs that speak ``pieces`` texts of ``length`` letters with ``pause`` seconds between them."""

        def dispatched() -> list[Run]:
            from django_ais import jobs, tenancy

            rows = jobs.dispatch_many("conformance.speak", [{**payload, "seed": seed} for seed in range(count)])
            return [Run(row.id, row.tenant, tenancy.topic(row.tenant, row.id)) for row in rows]

        return await self.bench.do(dispatched)

    def follow(self, runs: Sequence[Run], *, times: int = 1, within: float = 0.0, seed: int = 1) -> None:
        """Follow each run so many times, each from a moment of its own within so many seconds."""
        chosen = random.Random(seed)  # noqa: S311 - a test's choice
        for run in runs:
            for _ in range(times):
                self.readers.append(reader := Reader(run, asyncio.ensure_future(asyncio.sleep(0))))  # type: ignore[arg-type]
                reader.task = asyncio.create_task(self._read(reader, chosen.uniform(0.0, within)))

    async def _read(self, reader: Reader, delay: float) -> list[Envelope]:
        from django_ais.runtime import streams

        await asyncio.sleep(delay)
        async with aclosing(streams.follow(reader.run.id)) as envelopes:
            found = [envelope async for envelope in envelopes]
        reader.ended_at = time.monotonic()
        return found

    async def until(self, question: Callable[[], Any], what: str) -> None:
        """Wait for something that the database or the ledger tells. Raises AssertionError that names it."""
        try:
            async with asyncio.timeout(SECONDS):
                while not await self.bench.do(question):  # noqa: ASYNC110 - other processes cannot tell us
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"waited {SECONDS:g} s in vain for {what}") from None

    def events(self, runs: Sequence[Run]) -> int:
        """How many events these runs have committed."""
        from django_ais.models import AgentEvent

        return AgentEvent.objects.filter(root_id__in=[run.id for run in runs]).count()

    def have_ended(self, runs: Sequence[Run]) -> bool:
        """Whether none of these runs is open any more."""
        from django_ais.models import JobPacket

        return not JobPacket.objects.open().filter(id__in=[run.id for run in runs]).exists()

    async def assert_read_whole(self) -> dict[str, int]:
        """Every follower has read what the rows have: 1 to n, once, letter by letter. What may be counted besides."""
        try:
            async with asyncio.timeout(SECONDS):
                read = await asyncio.gather(*(reader.task for reader in self.readers))
        except TimeoutError:
            left = sum(not reader.task.done() for reader in self.readers)
            raise AssertionError(f"{left} of {len(self.readers)} followers did not come to the end") from None
        rows = {run: await self.bench.do(rows_of, run) for run in {reader.run for reader in self.readers}}
        for reader, found in zip(self.readers, read, strict=True):
            assert_same(found, rows[reader.run])
        return {"followers": len(read), "events_read": sum(map(len, read)), "gaps": 0, "repeats": 0}


def rows_of(run: Run) -> list[Envelope]:
    """The committed events of a run."""
    from django_ais.runtime import reading

    return reading.page(run.id, run.tenant, 0, limit=10**6)


def assert_same(found: Sequence[Envelope], rows: Sequence[Envelope]) -> None:
    """Raise AssertionError that says what a follower read and the rows have not, or the other way round."""
    numbers = [envelope.seq for envelope in found]
    wanted = list(range(1, len(rows) + 1))
    if numbers != wanted:
        missing, repeated = sorted(set(wanted) - set(numbers)), len(numbers) - len(set(numbers))
        raise AssertionError(f"a follower of {len(rows)} events missed {missing[:20]} and read {repeated} twice")
    for got, row in zip(found, rows, strict=True):
        if (got.type, got.job, got.data) != (row.type, row.job, row.data):
            raise AssertionError(f"event {row.seq} was read as {got.data!r} and is {row.data!r}")


class Mangler:
    """What becomes of the frames of a bus on their way to this process; ``rule`` says it of each, by its place."""

    def __init__(self, rule: Callable[[int], str]) -> None:
        self.lost = self.repeated = self.late = self.passed = 0
        self._rule = rule
        self._place = 0
        self._held: list[Any] = []

    async def pass_on(self, frames: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The frames that arrive."""
        async for frame in frames:
            if isinstance(frame, Reconnected):
                yield frame
                continue
            self._place += 1
            for arriving in self._arriving(frame, self._rule(self._place)):
                self.passed += 1
                yield arriving

    def _arriving(self, frame: Any, fate: str) -> list[Any]:
        held, self._held = self._held, []
        if fate == "lost":
            self.lost += 1
            return held
        if fate == "late":
            self.late += 1
            self._held = [frame]
            return held
        if fate == "twice":
            self.repeated += 1
            return [frame, *held, frame]
        return [frame, *held]


@contextmanager
def mangled(bus: BaseBus, rule: Callable[[int], str]) -> Iterator[Mangler]:
    """While this lasts, what subscriptions of a driver hear is mangled."""
    mangler, whole = Mangler(rule), bus._subscribe

    async def subscribe() -> Subscription:
        subscription = await whole()
        frames = subscription.frames
        subscription.frames = lambda: mangler.pass_on(frames())  # type: ignore[method-assign]
        return subscription

    bus._subscribe = subscribe  # type: ignore[method-assign]
    try:
        yield mangler
    finally:
        del bus._subscribe
