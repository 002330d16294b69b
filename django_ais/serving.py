"""Open streams: what one of them sends, and the watch over those of a process.

A view decides that a stream may be opened and says so in a `Grant`; who sends it (`asgi`, or the plain view) asks
`Streams.admit` for a place and hands on `Stream.chunks`. One timer for all of a loop's streams ends those that are
stuck, that are old, or whose permission was taken away, and spreads their ends when the process stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID
from weakref import WeakKeyDictionary

from django_ais import access, conf, jitter, wire
from django_ais.access import Visitor
from django_ais.events import Envelope
from django_ais.exceptions import JobNotFoundError, TooManyStreamsError
from django_ais.runtime import reading, streams
from django_ais.runtime.hub import PROBE_SECONDS, hub

logger = logging.getLogger("django_ais.streams")

LOOK_SECONDS = 0.5  # how often the open streams are looked at
RECHECK_SECONDS = 4.0  # how often permissions are asked again: a stream closes within five seconds of losing its own
RETRY_AFTER_SECONDS = 10
HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "Vary": "Cookie, Authorization",
}

Ending = Literal["left", "slow", "rotated", "revoked", "draining"]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a view has allowed: to follow a run after a number, as ``is_staff`` may see it.

    ``form`` makes the format of the one stream. ``wait`` makes it a long-poll of that many seconds for at most
    ``limit`` events; None a stream.
    """

    who: Visitor
    run: UUID
    after: int
    is_staff: bool = False
    wait: float | None = None
    limit: int = 100
    form: Callable[..., wire.Format] = wire.Native

    def formed(self) -> wire.Format:
        """A new format, as this visitor may see it."""
        return self.form(is_staff=self.is_staff)


@dataclass(slots=True)
class Entrance:
    """Where a view leaves its `Grant` for `asgi`, which put this object into the request's ASGI scope.

    No client can make one: a scope is made by the server. ``secret`` goes out in the view's answer, so that an answer
    some middleware gave instead of it grants nothing.
    """

    SCOPE_KEY = "django_ais.entrance"
    HEADER = "X-Ais-Grant"

    secret: str
    grant: Grant | None = None


class Stream:
    """One open answer."""

    __slots__ = ("_said_at", "_task", "after", "ending", "ends_at", "form", "grant", "sending_since", "was_interrupted")

    def __init__(self, grant: Grant, *, seconds: float | None = None) -> None:
        now = asyncio.get_running_loop().time()
        rotation = conf.current().stream_rotation_seconds * jitter.between(0.8, 1.2)
        self.grant = grant
        self.form = grant.formed()
        self.after = grant.after
        self.ends_at = now + (rotation if seconds is None else min(seconds, rotation))
        self.ending: Ending | None = None
        self.sending_since: float | None = None
        self.was_interrupted = False
        self._said_at = now
        self._task: asyncio.Task[Any] | None = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What goes to the client, in whole frames, until the run or this stream ends. Use it within ``aclosing``."""
        yield self.form.opening(self.after)
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                if chunk := self.form.frames(batch) if batch else wire.KEEPALIVE:
                    self._said_at = asyncio.get_running_loop().time()
                    yield chunk
                if self.form.is_over:
                    break
        if closing := self.form.closing():
            yield closing

    async def batches(self) -> AsyncGenerator[list[Envelope], None]:
        """The events, until the run or this stream ends; an empty list where a keepalive is due. Use it within
        ``aclosing``.
        """
        async with aclosing(streams.batches(self.grant.run, after=self.after)) as batches:
            async for batch in batches:
                if batch and not self.ending:
                    self.after = batch[-1].seq
                    yield batch
                elif self._is_silent():
                    yield []
                if self.ending:
                    break

    async def sent(self, sending: Awaitable[None]) -> None:
        """Await a send, noting since when, for the watch over stuck clients."""
        self.sending_since = self._said_at = asyncio.get_running_loop().time()
        await sending
        self.sending_since = None

    def _is_silent(self) -> bool:
        """Whether the keepalive would be late at the next look."""
        quiet = asyncio.get_running_loop().time() - self._said_at
        return quiet > conf.current().stream_keepalive_seconds - PROBE_SECONDS

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let `end` interrupt this block of the current task."""
        self._task = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if self.ending is None or self._task is None:
                raise
            self._task.uncancel()
            self.was_interrupted = True
        finally:
            self._task = None

    def end(self, ending: Ending) -> None:
        """End it between two frames; at once if nobody takes them any more."""
        if self.ending is not None:
            return
        self.ending = ending
        if self._task is None:
            if (feed := hub().feeds.get(self.grant.run)) is not None:
                feed.wake()
        elif self.sending_since is None or ending in ("left", "slow"):
            self._task.cancel()


class Streams:
    """The open streams of an event loop."""

    def __init__(self) -> None:
        self.open: set[Stream] = set()
        self.is_draining = False
        self._users: Counter[str] = Counter()
        self._watcher: asyncio.Task[None] | None = None

    @contextmanager
    def admit(self, grant: Grant, *, seconds: float | None = None) -> Iterator[Stream]:
        """A place for a stream, of at most so many seconds. Raises `TooManyStreamsError`."""
        self._refuse_if_full(grant.who.key)
        stream = Stream(grant, seconds=0.0 if self.is_draining else seconds)  # 503 would end an EventSource for good
        self.open.add(stream)
        self._users[grant.who.key] += 1
        if self._watcher is None:
            self._watcher = asyncio.ensure_future(self._watch())
        try:
            yield stream
        finally:
            self._forget(stream)

    def _refuse_if_full(self, user: str) -> None:
        current = conf.current()
        if len(self.open) >= current.stream_limit:
            raise TooManyStreamsError("This server has as many streams as it may; try again.", status=503)
        if self._users[user] >= current.stream_limit_per_user:
            raise TooManyStreamsError("You have as many streams open as one user may; close some.", status=429)

    def _forget(self, stream: Stream) -> None:
        self.open.discard(stream)
        user = stream.grant.who.key
        self._users[user] -= 1
        if not self._users[user]:
            del self._users[user]
        if not self.open and self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        rechecked = clock()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._end_overdue(clock())
            if clock() - rechecked >= RECHECK_SECONDS:
                rechecked = clock()
                await self._recheck()

    def _end_overdue(self, now: float) -> None:
        stuck = now - conf.current().stream_send_timeout_seconds
        for stream in list(self.open):
            if stream.sending_since is not None and stream.sending_since < stuck:
                logger.info("a follower of run %s takes nothing; closing", stream.grant.run)
                stream.end("slow")
            elif stream.ends_at <= now:
                stream.end("draining" if self.is_draining else "rotated")

    async def _recheck(self) -> None:
        """Ask for every open stream's permission again, in one go."""
        asked = list(self.open)
        pairs = {(stream.grant.who.key, stream.grant.run): stream.grant.who for stream in asked}
        try:
            allowed = await reading.read(lambda: access.still_allowed((who, run) for (_, run), who in pairs.items()))
        except Exception:  # without the database no run moves either; rotation asks again
            logger.warning("permissions of open streams could not be checked", exc_info=True)
            return
        for stream in asked:
            if (stream.grant.who.key, stream.grant.run) not in allowed:
                stream.end("revoked")

    def drain(self) -> None:
        """End what is open, spread over ``STREAM_DRAIN_SECONDS``, and what comes still at once; its clients come back.

        Call it on the streams' loop.
        """
        self.is_draining = True
        now = asyncio.get_running_loop().time()
        for stream in self.open:
            later = now + jitter.between(0, conf.current().stream_drain_seconds)
            stream.ends_at = min(stream.ends_at, later)


async def next_page(grant: Grant) -> list[Envelope]:
    """The next events of a run, waited for at most ``grant.wait`` seconds; none if there are none by then."""
    try:
        async with asyncio.timeout(grant.wait), aclosing(streams.batches(grant.run, after=grant.after)) as batches:
            async for batch in batches:
                if batch:
                    return batch[: grant.limit]
    except (TimeoutError, JobNotFoundError):
        pass
    return []


def page_document(grant: Grant, envelopes: list[Envelope]) -> dict[str, Any]:
    """A page: its events, the number to say as ``after`` next time, and whether nothing will follow."""
    return {
        "run": str(grant.run),
        "events": [wire.shown(envelope, is_staff=grant.is_staff) for envelope in envelopes],
        "next": envelopes[-1].seq if envelopes else grant.after,
        "is_over": bool(envelopes) and envelopes[-1].is_last,
    }


_streams: WeakKeyDictionary[asyncio.AbstractEventLoop, Streams] = WeakKeyDictionary()


def open_streams() -> Streams:
    """The open streams of the running event loop."""
    return open_streams_of(asyncio.get_running_loop())


def open_streams_of(loop: asyncio.AbstractEventLoop) -> Streams:
    """The open streams of an event loop."""
    return _streams.setdefault(loop, Streams())
