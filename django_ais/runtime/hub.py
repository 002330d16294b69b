"""What the followers of one event loop share: one bus subscription, and a feed for each followed run.

The bus may raise, hang, go and come back: followers then live on the probe, which looks at the numbers of all followed
runs in one query.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from typing import TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from django_ais import jitter, registry
from django_ais.buses import BaseBus, Reconnected, Subscription
from django_ais.exceptions import BusError
from django_ais.runtime import reading
from django_ais.runtime.feeds import Feed

logger = logging.getLogger("django_ais.streams")

T = TypeVar("T")

PROBE_SECONDS = 5.0  # a silent bus is not believed for longer: the last frame of all may be the one that was lost
FEED_SECONDS = 1.0  # the same while the bus cannot be reached: then the probe is the feed
BUS_SECONDS = 5.0  # how long the bus may take to answer
REST_SECONDS = 30.0  # after the last follower has left, until the reading threads and their connections go


class Hub:
    """The feeds of one event loop."""

    def __init__(self) -> None:
        self.feeds: dict[UUID, Feed] = {}
        self._by_topic: dict[str, Feed] = {}
        self._bus: BaseBus | None = None
        self._subscription: Subscription | None = None
        self._subscribing = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._hurried_at = float("-inf")
        self._is_told = False  # that the bus is down: once, not every second
        self._leaving: set[str] = set()
        self._rests_at: asyncio.TimerHandle | None = None
        self._discarder: asyncio.Task[None] | None = None

    async def join(self, run: UUID, tenant: str, head: int) -> Feed:
        """The feed of a run, subscribed before its rows are read; pair it with `leave`.

        ``head`` is a committed number: a new feed begins there.
        """
        feed = self.feeds.get(run)
        if self._rests_at is not None:
            self._rests_at.cancel()
        if feed is None:
            feed = self.feeds[run] = Feed(run, tenant, head)
            self._by_topic[feed.topic] = feed
            reading.watch(feed.topic, run)
            feed.opened = asyncio.ensure_future(self._open(feed))
            if self._prober is None:
                self._prober = asyncio.ensure_future(self._probe())
        feed.followers += 1
        try:
            if feed.opened is not None:
                await asyncio.shield(feed.opened)
        except BaseException:
            self.leave(feed)
            raise
        return feed

    async def _open(self, feed: Feed) -> None:
        await self._subscribe([feed.topic])
        await feed.refill()

    def leave(self, feed: Feed) -> None:
        """Follow no more; the last one closes the feed."""
        feed.followers -= 1
        if feed.followers or self.feeds.get(feed.run) is not feed:
            return
        feed.close()
        del self.feeds[feed.run], self._by_topic[feed.topic]
        reading.unwatch(feed.topic)
        self._leaving.add(feed.topic)
        if self._discarder is None:
            self._discarder = asyncio.ensure_future(self._discard())

    async def _discard(self) -> None:
        """Tell the bus, in the order in which followers came and went: a topic that is followed again stays."""
        try:
            while self._leaving:
                async with self._subscribing:
                    topics = self._leaving - self._by_topic.keys()
                    self._leaving.clear()
                    if not self.feeds:
                        await self._rest()
                    elif self._subscription is not None and topics:
                        await self._try_bus(self._subscription.discard(topics))
        finally:
            self._discarder = None

    async def _try_bus(self, work: Awaitable[None]) -> bool:
        """Await something of the bus's, which may fail or hang."""
        try:
            await _of_the_bus(work)
        except Exception:  # a driver that breaks is a bus that is down
            logger.warning("the bus cannot be reached; following by the rows alone", exc_info=True)
            return False
        return True

    async def _subscribe(self, topics: Iterable[str]) -> None:
        """Listen to topics before their rows are read. Without the bus, the probe is the feed."""
        async with self._subscribing:
            if self._subscription is None or self._bus is not registry.buses["default"]:
                await self._subscribe_anew()
            elif not await self._try_bus(self._subscription.add(topics)):
                self._lose(self._subscription)

    async def _subscribe_anew(self) -> None:
        if self._subscription is not None:  # the settings name another bus now
            self._lose(self._subscription)
        try:
            bus = registry.buses["default"]
            self._subscription = await _of_the_bus(bus.subscribe(list(self._by_topic)))
        except Exception:  # whatever a driver raises, its bus is down
            level = logging.DEBUG if self._is_told else logging.WARNING
            logger.log(level, "the bus cannot be reached; following by the rows alone", exc_info=True)
            self._is_told = True
            return
        self._is_told = False
        self._bus = bus
        self._listener = asyncio.ensure_future(self._listen(self._subscription))

    async def _listen(self, subscription: Subscription) -> None:
        try:
            async for hint in subscription:
                if isinstance(hint, Reconnected):
                    self._hurry.set()
                elif (feed := self._by_topic.get(hint.topic)) is not None and feed.run == hint.run:
                    feed.offer(hint)
            if self._subscription is subscription:  # nobody here has let go of it
                logger.warning("the bus hung up; following by the rows until it is back")
        except Exception:  # a driver that breaks is a bus that is down
            level = logging.WARNING if self._subscription is subscription else logging.DEBUG
            logger.log(level, "the bus broke; following by the rows until it is back", exc_info=True)
        self._lose(subscription)

    def _lose(self, subscription: Subscription) -> None:
        """The subscription is of no use any more: let go of it and have the probe make another."""
        if self._subscription is subscription:
            self._subscription = None
            listener, self._listener = self._listener, None
            closing = asyncio.ensure_future(_close(subscription, listener))
            _closing.add(closing)
            closing.add_done_callback(_closing.discard)
            self._hurry.set()

    async def _probe(self) -> None:
        while True:
            if self.feeds and self._subscription is None:
                await self._subscribe([])
            try:
                await self._look()
            except Exception:  # the probe must outlive the database's absence
                logger.warning("followed runs could not be probed", exc_info=True)
            for feed in list(self.feeds.values()):
                feed.wake()
            await self._pause(PROBE_SECONDS if self._subscription is not None else FEED_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Until the next look; soon if the link was down, but a link that comes and goes does not make it hurry."""
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * jitter.between(0.8, 1.0)):
                await self._hurry.wait()
        if self._hurry.is_set():
            self._hurry.clear()
            recently = loop.time() - self._hurried_at < 2 * FEED_SECONDS
            self._hurried_at = loop.time()
            await asyncio.sleep(jitter.between(0.0, 0.2) + (FEED_SECONDS if recently else 0.0))

    async def _look(self) -> None:
        """One query for all followed runs: which have rows that did not arrive, and which are gone?"""
        asked = {run: feed for run, feed in self.feeds.items() if feed.opened is not None and feed.opened.done()}
        last = await reading.last_numbers(list(asked))
        for run, feed in asked.items():
            if run not in last:
                feed.vanish()
            elif last[run] > feed.head:
                feed.suspect()

    async def _rest(self) -> None:
        subscription, self._subscription = self._subscription, None
        listener, self._listener = self._listener, None
        prober, self._prober = self._prober, None
        if prober is not None:
            prober.cancel()
        self._rests_at = asyncio.get_running_loop().call_later(REST_SECONDS, _let_readers_go)
        if subscription is not None:
            await _close(subscription, listener)


def _let_readers_go() -> None:
    asyncio.get_running_loop().run_in_executor(None, reading.rest)


async def _of_the_bus(work: Awaitable[T]) -> T:
    """Await something of a driver's, which may fail or hang. One whose client library cancels itself has failed."""
    try:
        async with asyncio.timeout(BUS_SECONDS):
            return await work
    except asyncio.CancelledError:
        here = asyncio.current_task()
        if here is None or here.cancelling():
            raise
        raise BusError("the client library gave up") from None


async def _close(subscription: Subscription, listener: asyncio.Task[None] | None) -> None:
    try:
        await _of_the_bus(subscription.close())
    except Exception:  # it was broken already
        logger.debug("a subscription could not be closed", exc_info=True)
    if listener is not None:
        listener.cancel()


_closing: set[asyncio.Task[None]] = set()
_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
