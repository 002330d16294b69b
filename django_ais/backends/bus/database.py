"""A bus without a broker: each process looks at the numbers of the runs it follows, in one query a tick."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from django_ais import jitter
from django_ais.buses import BaseBus, Reconnected, Subscription
from django_ais.drivers import load


class DatabaseBusOptions(BaseModel):
    """``first_seconds`` between two looks while events come; the wait grows to ``last_seconds`` while none do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_seconds: float = Field(default=0.1, gt=0)
    last_seconds: float = Field(default=1.0, gt=0)


class Numbers(Protocol):
    """What the core tells about runs: the run of each topic, and the number of its last committed event."""

    async def __call__(self, topics: Iterable[str]) -> Mapping[str, tuple[UUID, int]]: ...


class DatabaseBus(BaseBus):
    """Publishes nothing: what is committed is there to be seen."""

    options_class = DatabaseBusOptions

    carries_payload: ClassVar[bool] = False  # Does it carry the event, or only wake the reader up?

    def wants(self, topic: str) -> bool:
        """Nobody is told: followers look at the rows."""
        return False

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        return len(frames)

    async def _subscribe(self) -> DatabaseSubscription:
        return DatabaseSubscription(load(self.source_path), self.options)


class DatabaseSubscription(Subscription):
    """Asks for the last numbers of its topics, with jitter, and reports those that grew."""

    def __init__(self, numbers: Numbers, options: DatabaseBusOptions) -> None:
        self._numbers = numbers
        self._options = options
        self._seen: dict[str, int] = {}
        self._closed = asyncio.Event()

    async def add(self, topics: Iterable[str]) -> None:
        """Watch more topics from their present number on."""
        topics = list(topics)
        now = await self._numbers(topics)
        self._seen.update({topic: now[topic][1] if topic in now else 0 for topic in topics})

    async def discard(self, topics: Iterable[str]) -> None:
        """Watch these no more."""
        for topic in topics:
            self._seen.pop(topic, None)

    async def frames(self) -> AsyncIterator[tuple[str, bytes] | Reconnected]:
        """A reference for each topic whose number grew."""
        wait = self._options.first_seconds
        while not self._closed.is_set():
            grown = await self._look()
            for topic, (run, last) in grown.items():
                yield topic, json.dumps({"run": str(run), "seq": last}).encode()
            wait = self._options.first_seconds if grown else min(wait * 1.5, self._options.last_seconds)
            await self._pause(wait * jitter.between(0.8, 1.2))

    async def _look(self) -> dict[str, tuple[UUID, int]]:
        found = await self._numbers(list(self._seen))
        grown = {topic: value for topic, value in found.items() if value[1] > self._seen.get(topic, value[1])}
        self._seen.update({topic: last for topic, (_, last) in grown.items()})
        return grown

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    async def close(self) -> None:
        """End the iteration at the next tick."""
        self._closed.set()
