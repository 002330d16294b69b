"""An audience in a process of its own: many who listen, and what came of what was said."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from tests.benchmarks.measuring import percentile
from tests.benchmarks.streaming.speech import said_at

OPENING_AT_ONCE = 50
OPEN_SECONDS = 60.0
CLOSE_SECONDS = 5.0
QUIET_SECONDS = 2.0  # when nothing has come for so long, nothing will


class Ear(Protocol):
    """One who listens. ``heard`` counts texts since the last `take`."""

    heard: int

    def take(self) -> dict[float, float]:
        """When each text was said, and when it first came; forgets them."""
        ...


class Subscriber:
    """An `Ear` within the process: it is handed texts."""

    def __init__(self) -> None:
        self.heard = 0
        self._pieces: list[tuple[float, str]] = []

    def hear(self, said: str) -> None:
        """A text has come."""
        self._pieces.append((time.time(), said))
        self.heard += 1

    def take(self) -> dict[float, float]:
        """When each text was said, and when it first came; forgets them."""
        pieces, self._pieces, self.heard = self._pieces, [], 0
        found: dict[float, float] = {}
        for came, said in pieces:
            found.setdefault(said_at(said), came)
        return found


class Audience:
    """All of them, on a loop in a thread; each method is one question of the benchmark's."""

    def __init__(self, join: Callable[[], Awaitable[Ear]]) -> None:
        """``join`` makes one more who listens already."""
        self._join = join
        self._all: list[Ear] = []
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def open(self, many: int) -> dict[str, Any]:
        """So many more; each of them listens."""
        begun = time.perf_counter()
        self._all += asyncio.run_coroutine_threadsafe(self._open(many), self._loop).result()
        return {"open": len(self._all), "seconds": time.perf_counter() - begun}

    async def _open(self, many: int) -> list[Ear]:
        turns = asyncio.Semaphore(OPENING_AT_ONCE)

        async def one() -> Ear:
            async with turns, asyncio.timeout(OPEN_SECONDS):
                return await self._join()

        return await asyncio.gather(*[one() for _ in range(many)])

    def close(self) -> None:
        """Let all of them go, in order."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def hear(self, each: int) -> dict[str, Any]:
        """Wait until each has heard so many texts, or until silence; how many came, how late, and how fast."""
        heard, since = -1, time.monotonic()
        while (now := sum(min(ear.heard, each) for ear in self._all)) < each * len(self._all):
            if now != heard:
                heard, since = now, time.monotonic()
            elif time.monotonic() - since > QUIET_SECONDS:
                break
            time.sleep(0.05)
        return {"cpu": time.process_time(), **summary(self._all, each)}  # the summary's own work is not counted


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=CLOSE_SECONDS) if tasks else None


def summary(ears: Sequence[Ear], each: int) -> dict[str, Any]:
    """What has come of so many texts for each: a text that came twice counts once."""
    sent = sum(ear.heard for ear in ears)
    taken = [pair for ear in ears for pair in ear.take().items()]
    late = sorted((came - said) * 1000 for said, came in taken) or [float("nan")]
    return {
        "frames": len(taken),
        "share": len(taken) / (each * len(ears)),
        "repeated": (sent - len(taken)) / (each * len(ears)),
        "p50": percentile(late, 0.5),
        "p99": percentile(late, 0.99),
        "seconds": max((came for _, came in taken), default=0.0) - min((said for said, _ in taken), default=0.0),
    }
