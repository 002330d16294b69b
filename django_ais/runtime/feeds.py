"""The newest events of one followed run, as one event loop has them.

The database has the order. A frame of the bus is taken if it is the very next number; anything else only says that
there are rows to read, which is done once for a run, not once for a follower.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from uuid import UUID

from django_ais import tenancy
from django_ais.buses import Hint
from django_ais.events import Envelope
from django_ais.runtime import reading

logger = logging.getLogger("django_ais.streams")

RING_EVENTS = 1_024
RING_BYTES = 1024 * 1024
HELD_SECONDS = 0.15  # how long a number ahead of the next one may wait for it; also between two readings in vain
MOST_HELD = 1_000
HELD_BYTES = 4 * 1024 * 1024


class Feed:
    """A ring of a run's newest events, what came ahead of its number, and whoever waits for more.

    ``head`` is the number of the newest event, at first of one that the reader has no use for.
    """

    def __init__(self, run: UUID, tenant: str, head: int) -> None:
        self.run = run
        self.tenant = tenant
        self.topic = tenancy.topic(tenant, run)
        self.followers = 0
        self.head = head
        self.is_gone = False  # the run's rows were deleted
        self.news = asyncio.Event()
        self.opened: asyncio.Future[None] | None = None
        self._ring: deque[tuple[Envelope, int]] = deque()
        self._bytes = 0
        self._held: dict[int, Envelope] = {}
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None
        self._is_suspect = False
        self._read_in_vain_at = float("-inf")

    @property
    def tail(self) -> int:
        """The number before the oldest event in the ring."""
        return self.head - len(self._ring)

    def since(self, after: int, *, limit: int) -> list[Envelope] | None:
        """Up to ``limit`` events after a number; None if the ring does not reach back so far."""
        tail = self.tail
        if after < tail:
            return None
        return [self._ring[place][0] for place in range(after - tail, min(after - tail + limit, len(self._ring)))]

    def offer(self, hint: Hint) -> None:
        """Take what the bus tells. A number that is not the next one waits for those before it, and not for long."""
        if hint.seq <= self.head:
            return
        if hint.envelope is None:
            self.suspect()
        elif hint.seq == self.head + 1:
            self._append([hint.envelope])
        else:
            self._hold(hint.envelope)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(HELD_SECONDS, self._lose_patience)

    def _hold(self, envelope: Envelope) -> None:
        size = reading.size_of(envelope)
        if envelope.seq in self._held or len(self._held) >= MOST_HELD or self._held_bytes + size > HELD_BYTES:
            return
        self._held[envelope.seq] = envelope
        self._held_bytes += size

    def _lose_patience(self) -> None:
        self._timer = None
        self.suspect()

    def suspect(self) -> None:
        """Have the rows read soon: something may be missing.

        Hints that turn out to be false cost one reading in `HELD_SECONDS`, however many they are.
        """
        self._is_suspect = True
        if self._reader is None:
            self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while self._is_suspect:
                pause = self._read_in_vain_at + HELD_SECONDS - asyncio.get_running_loop().time()
                if pause > 0:
                    await asyncio.sleep(pause)
                self._is_suspect = False
                await self.refill()
        except Exception:  # the next probe finds what is still missing
            logger.warning("events of run %s could not be read; trying again", self.run, exc_info=True)
        finally:
            self._reader = None

    async def refill(self) -> None:
        """Read what the rows have after the head, all of it."""
        before = self.head
        while True:
            head = self.head
            rows = await reading.read(lambda: reading.page(self.run, self.tenant, head))  # noqa: B023 (awaited here)
            self._append(rows)
            if len(rows) < reading.PAGE or self.head == head:
                break
        if self.head == before:
            self._read_in_vain_at = asyncio.get_running_loop().time()

    def _append(self, envelopes: list[Envelope]) -> None:
        before = self.head
        for envelope in envelopes:
            if envelope.seq == self.head + 1:
                self._push(envelope)
        while (following := self._held.pop(self.head + 1, None)) is not None:
            self._held_bytes -= reading.size_of(following)
            self._push(following)
        if self.head != before:
            self._drop_stale()
            self.wake()

    def _drop_stale(self) -> None:
        """Forget held events whose number has been passed; what is still ahead keeps its timer."""
        for seq in [seq for seq in self._held if seq <= self.head]:
            self._held_bytes -= reading.size_of(self._held.pop(seq))
        if not self._held:
            self._cancel_timer()

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

    def vanish(self) -> None:
        """There is no such run any more: let the followers end."""
        self.is_gone = True
        self.wake()

    def close(self) -> None:
        """Nobody follows any more."""
        self._cancel_timer()
        for task in (self.opened, self._reader):
            if task is not None:
                task.cancel()
