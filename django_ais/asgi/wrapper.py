"""The application around the project's own: one authorising request, then the stream; lifespan."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, aclosing
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.urls import resolve

from django_ais import serving, wire
from django_ais.exceptions import JobNotFoundError, TooManyStreamsError
from django_ais.runtime import reading
from django_ais.serving import Entrance, Grant, Stream

logger = logging.getLogger("django_ais.streams")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Handler = Callable[[int, FrameType | None], Any]
Hooked = dict[signal.Signals, tuple[Handler, Handler]]  # the handler that was put in, and the one it calls
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

NOT_KEPT = {b"content-length", b"content-type", b"content-encoding", b"etag", Entrance.HEADER.lower().encode()}
OPENING_AT_ONCE = 16  # requests for streams that are inside of Django at a time
FOLLOWED = ("events", "agui_connect", "ai_sdk_stream")
TICKET = re.compile(rb"((?:^|&)ticket=)[^&]*")


_turns_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def wrap(django_app: Application) -> Application:
    """See `django_ais.asgi.application`."""

    async def wrapped(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http" and scope["method"] in ("GET", "POST"):
            await _handle(django_app, scope, receive, send)
        else:
            await django_app(scope, receive, send)

    return wrapped


async def _handle(django_app: Application, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    allowed = await _authorise(django_app, scope, receive, send)
    if allowed is None:
        return
    grant, headers = allowed
    try:
        with serving.open_streams().admit(grant) as stream:
            await (_serve if grant.wait is None else _serve_page)(stream, headers, receive, send)
    except TooManyStreamsError as error:
        await _refuse(error, headers, send)


async def _authorise(
    django_app: Application, scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> tuple[Grant, Headers] | None:
    """Send the request through the wrapped application. What it answers goes to the client, unless it is a grant."""
    entrance = Entrance(secrets.token_urlsafe(16))
    asked = {**scope, Entrance.SCOPE_KEY: entrance}
    if b"ticket=" in scope.get("query_string", b""):
        scope["query_string"] = TICKET.sub(rb"\1***", scope["query_string"])  # what the server's access log shows
    async with AsyncExitStack() as turn:
        if _is_for_streams(scope):
            await turn.enter_async_context(_turns())
        answer = _Answer(entrance, send, turn)
        await django_app(asked, receive, answer.send)
    if answer.headers is None or entrance.grant is None:
        return None
    return entrance.grant, answer.headers


class _Answer:
    """What the wrapped application answers: forwarded, unless it carries the grant's secret."""

    def __init__(self, entrance: Entrance, send: Send, turn: AsyncExitStack) -> None:
        self.headers: Headers | None = None  # of the answer that grants: cookies and CORS are the project's
        self._entrance = entrance
        self._send = send
        self._turn = turn

    async def send(self, message: Message) -> None:
        await self._turn.aclose()  # the view is done; a client that reads slowly must not keep its turn
        if message["type"] == "http.response.start" and self._grants(message):
            self.headers = [(name, value) for name, value in message["headers"] if name.lower() not in NOT_KEPT]
        elif self.headers is None:
            await self._send(message)

    def _grants(self, message: Message) -> bool:
        given = [
            value for name, value in message.get("headers", ()) if name.lower() == Entrance.HEADER.lower().encode()
        ]
        return message["status"] == 200 and given == [self._entrance.secret.encode()]


def _is_for_streams(scope: MutableMapping[str, Any]) -> bool:
    """Whether a client that comes back asks for this address. It decides about turns, not about access: a POST, whose
    body may be long in coming, must hold none.
    """
    if scope["method"] != "GET":
        return False
    path, root = scope["path"], scope.get("root_path", "")
    try:
        match = resolve(path[len(root) :] if root and path.startswith(root) else path)
    except Exception:  # Django itself will say what is wrong with the address or the URLconf
        logger.debug("%s is no address of a stream", path, exc_info=True)
        return False
    return match.url_name in FOLLOWED and "django_ais" in match.app_names


def _turns() -> asyncio.Semaphore:
    """After a restart all clients come back at once; each one's view wants a thread and a database connection."""
    return _turns_by_loop.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(OPENING_AT_ONCE))


async def _serve(stream: Stream, headers: Headers, receive: Receive, send: Send) -> None:
    """Send a stream until it, the run or the client ends."""
    start = {"type": "http.response.start", "status": 200, "headers": [*headers, _typed(wire.CONTENT_TYPE)]}
    watcher = asyncio.ensure_future(_await_disconnect(stream, receive))
    try:
        with stream.interruptible():
            await stream.sent(send(start))
            async with aclosing(stream.chunks()) as chunks:
                async for chunk in chunks:
                    await stream.sent(send(_body(chunk, more=True)))
        if stream.ending in ("left", "slow"):
            return
        await send(_body(stream.form.closing() if stream.was_interrupted else b""))
    except JobNotFoundError:
        await send(_body(stream.form.closing()))  # deleted since it was granted
    except Exception:  # whatever broke, the client comes back for the rest
        logger.exception("a stream of run %s broke off; its client may resume", stream.grant.run)
        await send(_body(stream.form.closing()))
    finally:
        watcher.cancel()


async def _serve_page(stream: Stream, headers: Headers, receive: Receive, send: Send) -> None:
    """Answer a long-poll."""
    watcher = asyncio.ensure_future(_await_disconnect(stream, receive))
    try:
        with stream.interruptible():
            envelopes = await serving.next_page(stream.grant)
        if stream.ending == "left":
            return
        document = serving.page_document(stream.grant, [] if stream.ending else envelopes)
        await _answer_json(200, document, headers, send)
    finally:
        watcher.cancel()


async def _await_disconnect(stream: Stream, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end("left")


async def _refuse(error: TooManyStreamsError, headers: Headers, send: Send) -> None:
    retry_after = (b"retry-after", str(serving.RETRY_AFTER_SECONDS).encode())
    document = {"error": {"code": error.code, "message": str(error)}}
    await _answer_json(error.status, document, [*headers, retry_after], send)


async def _answer_json(status: int, document: Any, headers: Headers, send: Send) -> None:
    body = json.dumps(document).encode()
    headers = [*headers, _typed("application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send(_body(body))


def _typed(content_type: str) -> tuple[bytes, bytes]:
    return b"content-type", content_type.encode()


def _body(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _lifespan(receive: Receive, send: Send) -> None:
    hooked: Hooked = {}
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            hooked = _drain_on_signals()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            serving.open_streams().drain()
            _unhook(hooked)
            await sync_to_async(reading.stop_readers, thread_sensitive=False)()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _drain_on_signals() -> Hooked:
    """Begin to drain when the server is told to stop: it says so to the application only once all streams are over."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    loop = asyncio.get_running_loop()
    hooked: Hooked = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        if callable(previous := signal.getsignal(number)):
            hooked[number] = (_draining(loop, previous), previous)
            signal.signal(number, hooked[number][0])
    return hooked


def _draining(loop: asyncio.AbstractEventLoop, previous: Handler) -> Handler:
    def handle(number: int, frame: FrameType | None) -> Any:
        if not loop.is_closed():
            loop.call_soon_threadsafe(serving.open_streams_of(loop).drain)
        return previous(number, frame)

    return handle


def _unhook(hooked: Hooked) -> None:
    for number, (ours, previous) in hooked.items():
        if signal.getsignal(number) is ours:
            signal.signal(number, previous)
