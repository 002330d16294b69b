"""One WebSocket that follows many runs: what is said on it, and when it is closed.

A message is one JSON object. The client says ``follow`` and ``unfollow``; it is told ``opened``, ``ended``, ``refused``
and ``keepalive``, and events as server-sent events have them. Each run is a `Stream`, with the permission, the limits
and the watch of all streams. Nothing waits here for a client that takes nothing: its runs stay where they are.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import Any, NoReturn
from uuid import UUID
from weakref import WeakKeyDictionary

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from django_ais import access, conf, jitter, serving, tenancy, wire
from django_ais.events import Envelope
from django_ais.exceptions import JobNotFoundError, TooManyStreamsError
from django_ais.runtime import reading
from django_ais.serving import Grant, Stream

logger = logging.getLogger("django_ais.streams")

MOST_CHARACTERS = 4_096  # of a client's message
MOST_RUNS = 100  # of one socket
IDLE_SECONDS = 60.0  # how long a socket may follow nothing
LOOK_SECONDS = 5.0  # how often one that hears nothing looks around
CLOSE_SECONDS = 2.0  # how long a client may take to hear that its socket is closed

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Close(IntEnum):
    """Why a socket was closed, as the client is told."""

    IDLE = 1000
    TOO_BIG = 1009
    BROKEN = 1011
    RESTARTING = 1012
    FULL = 1013
    ROTATED = 4000
    SLOW = 4408


CLOSED_BY = {"rotated": Close.ROTATED, "draining": Close.RESTARTING, "slow": Close.SLOW}
KEYS = {"follow": {"op", "run", "after", "ticket"}, "unfollow": {"op", "run"}}
RUN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")  # as in our addresses

_sockets: WeakKeyDictionary[asyncio.AbstractEventLoop, set[Socket]] = WeakKeyDictionary()


async def serve(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Accept a socket and talk until either side ends it. Its origin must have been checked.

    One that names a host which is not allowed is refused. Beyond ``STREAM_LIMIT`` sockets it is closed at once.
    """
    await receive()  # websocket.connect
    request = request_of(scope)
    try:
        request.get_host()
    except DisallowedHost:
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    there = _sockets.setdefault(asyncio.get_running_loop(), set())
    socket = Socket(request, receive, send)
    if len(there) >= conf.current().stream_limit:
        await socket.close(Close.FULL)
        return
    there.add(socket)
    try:
        await socket.talk()
    finally:
        there.discard(socket)


def request_of(scope: MutableMapping[str, Any]) -> HttpRequest:
    """What a ``TENANT_RESOLVER`` is asked about: a GET of the socket's address with its headers, user and session.

    None of the project's middleware has seen it. What such a middleware would have set is not there.
    """
    scheme = "https" if scope.get("scheme") == "wss" else "http"
    request = ASGIRequest({**scope, "type": "http", "method": "GET", "scheme": scheme}, BytesIO())
    request.user = scope.get("user") or AnonymousUser()
    if "session" in scope:
        request.session = scope["session"]
    return request


@dataclass(frozen=True, slots=True)
class Asked:
    """A message of the client's."""

    op: str
    run: UUID
    after: int
    ticket: str | None

    @classmethod
    def read(cls, text: str | None) -> Asked:
        """Read one. Raises ValueError with a sentence for the client."""
        try:
            found = json.loads(text or "")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ValueError("A message is a text: one JSON object.")
        op, run, after, ticket = (found.get(name) for name in ("op", "run", "after", "ticket"))
        if not isinstance(op, str) or op not in KEYS:
            raise ValueError(f"There is no op {str(op)[:40]!r}. There are: {', '.join(KEYS)}.")
        if unknown := found.keys() - KEYS[op]:
            raise ValueError(f"{op} takes no {min(unknown)[:40]!r}. It takes: {', '.join(sorted(KEYS[op] - {'op'}))}.")
        if not isinstance(run, str) or not RUN.fullmatch(run):
            raise ValueError("run must be a run's id: a UUID in lower case, with hyphens.")
        if after is not None and (type(after) is not int or not 0 <= after < 2**63):
            raise ValueError("after must be a whole number from 0: that of the last event seen.")
        if ticket is not None and not isinstance(ticket, str):
            raise ValueError("ticket must be a text, as POST .../ticket gives it.")
        return cls(op, UUID(run), after or 0, ticket)


class _Over(Exception):
    """The socket is over; `Socket` knows why."""


class Socket:
    """An accepted socket."""

    def __init__(self, request: HttpRequest, receive: Receive, send: Send) -> None:
        self._request = request
        self._receive = receive
        self._send_message = send
        self._turn = asyncio.Lock()  # one message at a time
        self._followed: dict[UUID, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
        self._over: Close | None = None
        self._clock = asyncio.get_running_loop().time
        self._said_at = self._idle_since = self._clock()
        rotation = conf.current().stream_rotation_seconds * jitter.between(0.8, 1.2)
        self._ends_at = self._clock() + rotation

    async def talk(self) -> None:
        """Answer the client until either side ends it."""
        try:
            async with self._group:
                await self._listen()
        except* _Over:
            pass
        except* Exception:  # whatever broke, the client comes back for the rest
            logger.exception("a socket broke off; its client may open another")
            self._over = Close.BROKEN
        if self._over is not None:
            await self.close(self._over)

    def _end(self, reason: Close | None) -> NoReturn:
        """End it; None says that the client has left."""
        self._over = reason
        raise _Over

    async def close(self, reason: Close) -> None:
        """Tell the client, if it takes anything."""
        with suppress(Exception):  # it may be gone
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._send_message({"type": "websocket.close", "code": int(reason)})

    async def _listen(self) -> None:
        hearing = asyncio.ensure_future(self._receive())
        try:
            while True:
                await asyncio.wait({hearing}, timeout=self._patience())
                if hearing.done():
                    await self._hear(hearing.result())
                    hearing = asyncio.ensure_future(self._receive())
                await self._look()
        finally:
            hearing.cancel()

    # -- time

    def _patience(self) -> float:
        """Seconds until something is due."""
        due = min(self._keepalive_at, self._idle_until, self._ends_at)
        return max(0.0, min(LOOK_SECONDS, due - self._clock()))

    @property
    def _keepalive_at(self) -> float:
        return self._said_at + conf.current().stream_keepalive_seconds

    @property
    def _idle_until(self) -> float:
        return float("inf") if self._followed else self._idle_since + IDLE_SECONDS

    async def _look(self) -> None:
        now = self._clock()
        if self._ends_at <= now:
            self._end(Close.ROTATED)
        if not self._followed and serving.open_streams().is_draining:
            self._end(Close.RESTARTING)
        if self._idle_until <= now:
            self._end(Close.IDLE)
        if self._keepalive_at <= now:
            await self._say(op="keepalive")

    # -- what the client says

    async def _hear(self, message: Message) -> None:
        if message["type"] == "websocket.disconnect":
            self._end(None)
        text = message.get("text")
        if len(text or message.get("bytes") or "") > MOST_CHARACTERS:
            self._end(Close.TOO_BIG)
        try:
            asked = Asked.read(text)
        except ValueError as error:
            await self._say(op="refused", code="bad_message", message=str(error))
            return
        await (self._follow if asked.op == "follow" else self._unfollow)(asked)

    async def _follow(self, asked: Asked) -> None:
        if asked.run in self._followed:
            await self._say(op="opened", run=str(asked.run))
            return
        try:
            if len(self._followed) >= MOST_RUNS:
                raise TooManyStreamsError(f"A socket follows at most {MOST_RUNS} runs; open another.", status=429)
            grant = await reading.read(lambda: self._grant(asked))
        except (JobNotFoundError, TooManyStreamsError) as error:
            await self._refuse(asked.run, error)
            return
        self._followed[asked.run] = self._group.create_task(self._feed(grant))

    def _grant(self, asked: Asked) -> Grant:
        if asked.ticket is None:
            who = access.renewed(access.visitor(self._request))
        else:
            who = access.visitor_of(asked.ticket, asked.run)
        root = access.visible_run(who, asked.run)
        return Grant(who, root.id, asked.after, is_staff=tenancy.authorize(who.user, "inspect", root))

    async def _unfollow(self, asked: Asked) -> None:
        if (task := self._followed.get(asked.run)) is not None:
            task.cancel()
            await asyncio.wait({task})
            self._followed.pop(asked.run, None)  # if it had not begun
        await self._say(op="ended", run=str(asked.run), is_over=False)

    # -- what the client is told

    async def _feed(self, grant: Grant) -> None:
        """Follow a run to its end, and tell how it ended."""
        refused: JobNotFoundError | TooManyStreamsError | None = None
        try:
            await self._stream(grant)
        except (JobNotFoundError, TooManyStreamsError) as error:
            refused = error
        finally:  # before the client is told: it may follow the run again at once
            self._followed.pop(grant.run, None)
            self._idle_since = self._clock()
        if refused is not None:
            await self._refuse(grant.run, refused)
        else:
            await self._say(op="ended", run=str(grant.run), is_over=True)

    async def _stream(self, grant: Grant) -> None:
        """Send a run's events until it ends. Raises `JobNotFoundError` when it may not be seen any more."""
        with serving.open_streams().admit(grant, seconds=self._ends_at - self._clock()) as stream:
            with stream.interruptible():
                await self._tell(stream, json.dumps({"op": "opened", "run": str(grant.run)}))
                async with aclosing(stream.batches()) as batches:
                    async for batch in batches:
                        await self._tell_all(stream, batch)
            if stream.ending == "revoked":
                raise JobNotFoundError(access.MISSING)
            if stream.ending is not None:
                self._end(CLOSED_BY[stream.ending])

    async def _tell_all(self, stream: Stream, batch: list[Envelope]) -> None:
        native = wire.Native(is_staff=stream.grant.is_staff)
        for envelope in batch:
            if stream.ending:
                break
            await self._tell(stream, native.data(envelope))

    async def _tell(self, stream: Stream, text: str) -> None:
        async with self._turn:
            await stream.sent(self._send(text))

    async def _refuse(self, run: UUID, error: JobNotFoundError | TooManyStreamsError) -> None:
        await self._say(op="refused", run=str(run), code=error.code, message=str(error))

    async def _say(self, **document: Any) -> None:
        """Say something about the socket or a run; a client that does not take it in time is let go."""
        try:
            async with asyncio.timeout(conf.current().stream_send_timeout_seconds), self._turn:
                await self._send(json.dumps(document))
        except TimeoutError:
            self._end(Close.SLOW)

    async def _send(self, text: str) -> None:
        try:
            await self._send_message({"type": "websocket.send", "text": text})
        except Exception:  # each server has its own way to say that the client is gone
            logger.debug("a socket takes nothing more", exc_info=True)
            self._end(None)
        self._said_at = self._clock()
