"""What the followers of one event loop share: one bus subscription, and a ring of the newest events of each followed
run.

The database has the order. A frame of the bus is taken if it is the very next number; anything else only says that
there are rows to read, which is done once for a run, not once for a follower.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Mapping
from uuid import UUID
from weakref import WeakKeyDictionary

from django_ais import registry, tenancy
from django_ais.buses import Hint, Reconnected, Subscription
from django_ais.events import Envelope
from django_ais.exceptions import AisError
from django_ais.runtime import reading

logger = logging.getLogger("django_ais.streams")

RING_EVENTS = 1_024
RING_BYTES = 1024 * 1024
HELD_SECONDS = 0.15  # how long a number ahead of the next one may wait for it before the rows are read
MOST_HELD = 1_000
PROBE_SECONDS = 5.0  # a silent bus is not believed for longer: the last frame of all may be the one that was lost
FEED_SECONDS = 1.0  # the same while the bus cannot be reached: then the probe is the feed


class Feed:
    """The newest events of a run as this loop has them, and whoever waits for more."""

    def __init__(self, run: UUID, tenant: str, after: int) -> None:
        self.run = run
        self.tenant = tenant
        self.topic = tenancy.topic(tenant, run)
        self.followers = 0
        self.head = after
        self.news = asyncio.Event()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ring: deque[tuple[Envelope, int]] = deque()
        self._bytes = 0
        self._held: dict[int, Envelope] = {}
        self._reading = asyncio.Lock()
        self._is_stale = False  # told of news while the rows were being read: they may be newer than what was read
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def tail(self) -> int:
        """The number before the oldest event in the ring."""
        return self.head - len(self._ring)

    def since(self, after: int, *, limit: int) -> list[Envelope] | None:
        """Up to ``limit`` events after a number; None if the ring does not reach back so far."""
        if after < self.tail:
            return None
        return [envelope for envelope, _ in itertools.islice(self._ring, after - self.tail, after - self.tail + limit)]

    def offer(self, hint: Hint) -> None:
        """Take what the bus tells. A hint is not believed: a number that is not the next one has the rows read."""
        if hint.seq <= self.head:
            return
        if hint.envelope is None:
            self.suspect()
        elif hint.seq == self.head + 1:
            self._append([hint.envelope])
        else:
            if len(self._held) < MOST_HELD:
                self._held[hint.seq] = hint.envelope
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(HELD_SECONDS, self.suspect)

    def suspect(self) -> None:
        """Read the rows soon: something may be missing."""
        self._cancel_timer()
        self._is_stale = True
        if not self._reading.locked():
            task = asyncio.ensure_future(self.refill())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def refill(self) -> None:
        """Read what the rows have after the head, all of it."""
        async with self._reading:
            while True:
                self._is_stale = False
                rows = await reading.read(lambda: reading.page(self.run, self.tenant, self.head))
                self._append([row for row in rows if row.seq > self.head])
                if len(rows) < reading.PAGE and not self._is_stale:
                    return

    def _append(self, envelopes: list[Envelope]) -> None:
        for envelope in envelopes:
            if envelope.seq == self.head + 1:
                self._push(envelope)
        while (following := self._held.pop(self.head + 1, None)) is not None:
            self._push(following)
        self._held = {seq: envelope for seq, envelope in self._held.items() if seq > self.head}
        if not self._held:
            self._cancel_timer()
        if envelopes:
            self.wake()

    def _push(self, envelope: Envelope) -> None:
        size = reading.size_of(envelope)
        self._ring.append((envelope, size))
        self._bytes += size
        self.head = envelope.seq
        while len(self._ring) > RING_EVENTS or (self._bytes > RING_BYTES and len(self._ring) > 1):
            self._bytes -= self._ring.popleft()[1]

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self) -> None:
        """Let every waiting follower look."""
        news, self.news = self.news, asyncio.Event()
        news.set()

    def close(self) -> None:
        """Nobody follows any more."""
        self._cancel_timer()
        self.opened.cancel()
        for task in self._tasks:
            task.cancel()


class Hub:
    """The feeds of one event loop."""

    def __init__(self) -> None:
        self.feeds: dict[UUID, Feed] = {}
        self._subscription: Subscription | None = None
        self._subscribing = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None

    async def join(self, run: UUID, tenant: str, after: int) -> Feed:
        """The feed of a run, subscribed before its rows are read; pair it with `leave`."""
        feed = self.feeds.get(run)
        if feed is None:
            feed = self.feeds[run] = Feed(run, tenant, after)
            reading.follow(feed.topic, run)
            feed.opened = asyncio.ensure_future(self._open(feed))
        feed.followers += 1
        try:
            await asyncio.shield(feed.opened)
        except BaseException:
            await self.leave(feed)
            raise
        return feed

    async def _open(self, feed: Feed) -> None:
        await self._subscribe(feed.topic)
        await feed.refill()

    async def leave(self, feed: Feed) -> None:
        """Follow no more; the last one closes the feed."""
        feed.followers -= 1
        if feed.followers == 0 and self.feeds.get(feed.run) is feed:
            feed.close()
            del self.feeds[feed.run]
            reading.leave(feed.topic)
            if not self.feeds:
                await self._rest()
            elif self._subscription is not None:
                await self._subscription.discard([feed.topic])

    async def _subscribe(self, topic: str) -> None:
        """Listen to a topic before its rows are read. Without the bus, the probe is the feed."""
        if self._prober is None:
            self._prober = asyncio.ensure_future(self._probe())
        async with self._subscribing:
            try:
                if self._subscription is None:
                    self._subscription = await registry.buses["default"].subscribe([topic])
                    self._listener = asyncio.ensure_future(self._listen(self._subscription))
                else:
                    await self._subscription.add([topic])
            except AisError:
                logger.warning("the bus cannot be reached; following by the rows alone", exc_info=True)

    async def _listen(self, subscription: Subscription) -> None:
        by_topic: Mapping[str, UUID] = reading.topics
        try:
            async for hint in subscription:
                if isinstance(hint, Reconnected):
                    for feed in list(self.feeds.values()):
                        feed.suspect()
                elif (run := by_topic.get(hint.topic)) is not None and run == hint.run and run in self.feeds:
                    self.feeds[run].offer(hint)
        except asyncio.CancelledError:
            raise
        except Exception:  # a driver that breaks is a bus that is down
            logger.warning("the bus broke; following by the rows until it is back", exc_info=True)
        if self._subscription is subscription:
            self._subscription = None

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS if self._subscription is not None else FEED_SECONDS)
            try:
                if self._subscription is None and self.feeds:
                    await self._subscribe_again()
                await self._look()
            except Exception:  # the probe must outlive the database's absence
                logger.warning("followed runs could not be probed", exc_info=True)

    async def _subscribe_again(self) -> None:
        topics = [feed.topic for feed in self.feeds.values()]
        await self._subscribe(topics[0])
        if self._subscription is not None:
            await self._subscription.add(topics[1:])

    async def _look(self) -> None:
        last = await reading.last_numbers(list(self.feeds))
        for run, number in last.items():
            if run in self.feeds and number > self.feeds[run].head:
                self.feeds[run].suspect()
        for feed in list(self.feeds.values()):
            feed.wake()

    async def _rest(self) -> None:
        subscription, self._subscription = self._subscription, None
        tasks, self._listener, self._prober = (self._listener, self._prober), None, None
        if subscription is not None:
            await subscription.close()
        for task in tasks:
            if task is not None:
                task.cancel()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
