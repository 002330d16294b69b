"""A bus within one process: for development, tests and sites that serve and work in the same process."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import ClassVar

from django_ais.buses import BaseBus, Reconnected, Subscription

MOST_WAITING = 10_000  # frames a slow subscription may have waiting; then it is told to look at the rows


class MemoryBus(BaseBus):
    """Hands frames to the subscriptions of this process."""

    crosses_processes: ClassVar[bool] = False  # Does a frame reach other processes?

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._listeners: dict[str, set[MemorySubscription]] = defaultdict(set)

    def wants(self, topic: str) -> bool:
        """Whether a subscription of this process listens."""
        return topic in self._listeners

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        with self._lock:
            listeners = list(self._listeners.get(topic, ()))
        for listener in listeners:
            listener.deliver(topic, frames)
        return len(frames)

    async def _subscribe(self) -> MemorySubscription:
        return MemorySubscription(self, asyncio.get_running_loop())

    def listen(self, topic: str, listener: MemorySubscription) -> None:
        """Hand this topic's frames to a subscription from now on."""
        with self._lock:
            self._listeners[topic].add(listener)

    def forget(self, topic: str, listener: MemorySubscription) -> None:
        """Hand it no more of them."""
        with self._lock:
            self._listeners[topic].discard(listener)
            if not self._listeners[topic]:
                del self._listeners[topic]


class MemorySubscription(Subscription):
    """Frames wait in a queue of the subscriber's event loop."""

    def __init__(self, bus: MemoryBus, loop: asyncio.AbstractEventLoop) -> None:
        self._bus = bus
        self._loop = loop
        self._topics: set[str] = set()
        self._frames: asyncio.Queue[tuple[str, bytes] | Reconnected | None] = asyncio.Queue()

    def deliver(self, topic: str, frames: Sequence[bytes]) -> None:
        """Take frames from any thread; a subscription whose loop is gone takes nothing."""
        try:
            self._loop.call_soon_threadsafe(self._put, topic, frames)
        except RuntimeError:  # the loop was closed without closing the subscription
            for known in list(self._topics):
                self._bus.forget(known, self)

    def _put(self, topic: str, frames: Sequence[bytes]) -> None:
        if self._frames.qsize() > MOST_WAITING:
            while not self._frames.empty():
                self._frames.get_nowait()
            self._frames.put_nowait(Reconnected())
        for frame in frames:
            self._frames.put_nowait((topic, frame))

    async def add(self, topics: Iterable[str]) -> None:
        """Listen to more topics."""
        for topic in topics:
            self._topics.add(topic)
            self._bus.listen(topic, self)

    async def discard(self, topics: Iterable[str]) -> None:
        """Listen to these no more."""
        for topic in topics:
            self._topics.discard(topic)
            self._bus.forget(topic, self)

    async def frames(self) -> AsyncIterator[tuple[str, bytes] | Reconnected]:
        """Frames as they arrive."""
        while (frame := await self._frames.get()) is not None:
            yield frame

    async def close(self) -> None:
        """End the iteration."""
        await self.discard(list(self._topics))
        self._frames.put_nowait(None)
