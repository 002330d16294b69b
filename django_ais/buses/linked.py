"""A subscription over one connection to a broker: kept up, and honest about every time that it was down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import suppress

from django_ais import jitter
from django_ais.buses.base import Subscription
from django_ais.buses.frames import Reconnected
from django_ais.exceptions import BusError

logger = logging.getLogger("django_ais.bus")

MOST_WAITING = 10_000  # frames that wait for a slow reader; then it is told to look at the rows
FIRST_PAUSE, LAST_PAUSE = 0.05, 2.0  # seconds between two tries to link again
CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 0.5  # until a task that was cancelled is cancelled again


class LinkedSubscription(Subscription):
    """To write: `_connect`, `_listen`, `_receive` and `_disconnect`; `_unlisten` where the broker has it.

    A client library's own reconnecting must be off: what was published meanwhile is lost, and only who makes the new
    link knows it. `open` it before it is returned by `BaseBus._subscribe`.
    """

    def __init__(self) -> None:
        self._topics: set[str] = set()
        self._waiting: asyncio.Queue[tuple[str, bytes] | Reconnected | None] = asyncio.Queue()
        self._linked = asyncio.Event()
        self._acknowledgements: dict[bytes, asyncio.Future[None]] = {}
        self._pause = FIRST_PAUSE
        self._keeper: asyncio.Task[None] | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._is_closed = False

    async def _connect(self) -> None:
        """Make the connection, within a few seconds."""
        raise NotImplementedError

    async def _listen(self, topics: Iterable[str]) -> None:
        """Listen to these topics too; returns after the broker acknowledged. `_receive` runs meanwhile."""
        raise NotImplementedError

    async def _unlisten(self, topics: Iterable[str]) -> None:
        """Listen to these no more, if the broker can be told."""

    def _receive(self) -> AsyncIterator[tuple[str, bytes]]:
        """Frames, each with its topic, until the link is lost: it ends then, or raises."""
        raise NotImplementedError

    async def _disconnect(self) -> None:
        """Let go of the connection, which may be broken."""
        raise NotImplementedError

    # what is given

    async def _acknowledged(self, names: Iterable[bytes], asking: Awaitable[object]) -> None:
        """Ask, and return when `_acknowledge` was called with each name. Raises ConnectionError if the link is lost.

        For `_listen`, where the broker's word comes to `_receive`.
        """
        loop = asyncio.get_running_loop()
        told = [self._acknowledgements.setdefault(name, loop.create_future()) for name in names]
        await asking
        await asyncio.gather(*map(asyncio.shield, told))  # others may wait for the same

    def _acknowledge(self, name: bytes) -> None:
        """The broker has acknowledged a name; for `_receive`."""
        if (told := self._acknowledgements.pop(name, None)) is not None:
            told.set_result(None)

    def _give_up_acknowledgements(self) -> None:
        left, self._acknowledgements = self._acknowledgements, {}
        for told in left.values():
            told.set_exception(ConnectionError("the link was lost"))
            told.exception()  # looked at: nobody may be waiting any more

    async def open(self) -> None:
        """Link for the first time. Raises `BusError` if the broker cannot be reached."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connect()
        except Exception as error:
            with suppress(Exception):
                await self._disconnect()
            raise BusError(f"the bus cannot be reached: {type(error).__name__}: {error}") from error
        self._keeper = asyncio.create_task(self._keep())

    async def add(self, topics: Iterable[str]) -> None:
        """Listen to more topics; returns after the broker acknowledged, on this link or on the next."""
        new = set(topics) - self._topics
        self._topics |= new
        if not new:
            return
        if self._linked.is_set():
            with suppress(ConnectionError, OSError):  # lost just now: the next link listens to all topics
                await self._listen(new)
                return
        await self._linked.wait()

    async def discard(self, topics: Iterable[str]) -> None:
        """Listen to these no more."""
        old = set(topics) & self._topics
        self._topics -= old
        if old and self._linked.is_set():
            with suppress(ConnectionError, OSError):
                await self._unlisten(old)

    async def _keep(self) -> None:
        """Receive, and link again whenever the link is lost."""
        is_first = True
        while not self._is_closed:
            try:
                if not is_first:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        await self._connect()
                await self._stay(is_first=is_first)
            except Exception:  # the link's edge: whatever a client library raises, it is down
                logger.info("the bus is away", exc_info=True)
            is_first = False
            with suppress(Exception):
                await self._disconnect()
            self._deliver(Reconnected())
            await asyncio.sleep(self._pause * jitter.between(0.5, 1.0))
            self._pause = min(self._pause * 2, LAST_PAUSE)

    async def _stay(self, *, is_first: bool) -> None:
        """One link, until it is lost."""
        receiving = self._receiving = asyncio.create_task(self._pump())
        try:
            listened: set[str] = set()
            while missing := self._topics - listened:
                listening = asyncio.create_task(self._listen(missing))
                try:
                    await asyncio.wait({listening, receiving}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    listening.cancel()
                if receiving.done():
                    break
                _raise_from(listening)
                listened |= missing
            else:
                self._linked.set()
                self._pause = FIRST_PAUSE
                if not is_first:
                    self._deliver(Reconnected())  # what was published until now may be missing
            await asyncio.wait({receiving})
            _raise_from(receiving)
        finally:
            self._linked.clear()
            self._give_up_acknowledgements()
            await end(receiving)

    async def _pump(self) -> None:
        async for topic, frame in self._receive():
            if topic in self._topics:
                self._deliver((topic, frame))

    def _deliver(self, item: tuple[str, bytes] | Reconnected) -> None:
        if self._waiting.qsize() >= MOST_WAITING:
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put_nowait(Reconnected())
        self._waiting.put_nowait(item)

    async def frames(self) -> AsyncIterator[tuple[str, bytes] | Reconnected]:
        """Frames as they arrive, until `close`."""
        while (item := await self._waiting.get()) is not None:
            yield item

    async def close(self) -> None:
        """End the iteration and let go of the connection."""
        self._is_closed = True
        try:
            for task in (self._keeper, self._receiving):
                if task is not None:
                    await end(task)
        finally:  # who closes may be cancelled too, as by the end of its loop
            with suppress(Exception):
                await self._disconnect()
            self._waiting.put_nowait(None)


def _raise_from(task: asyncio.Task[None]) -> None:
    """Raise what a finished task raised. A client library that cancelled it has lost its link, and not ended ours."""
    if task.cancelled():
        raise ConnectionError("the client library gave up")
    task.result()


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended.

    Once is not enough: what a client library awaits by `asyncio.wait_for` may swallow it on Python 3.11 (redis-py's
    writes do), and the task goes on.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_SECONDS)
