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
from contextlib import aclosing
from types import FrameType
from typing import Any

from asgiref.sync import sync_to_async

from django_ais import serving, wire
from django_ais.exceptions import JobNotFoundError
from django_ais.runtime import reading
from django_ais.serving import Entrance, Grant, Stream, TooManyStreams

logger = logging.getLogger("django_ais.streams")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Handler = Callable[[int, FrameType | None], Any]
Hooked = dict[signal.Signals, tuple[Handler, Handler]]  # the handler that was put in, and the one it calls
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

NOT_KEPT = {b"content-length", b"content-type", b"content-encoding", b"etag", Entrance.HEADER.lower().encode()}
TICKET = re.compile(rb"((?:^|&)ticket=)[^&]*")


def wrap(django_app: Application) -> Application:
    """See `django_ais.asgi.application`."""

    async def wrapped(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http" and scope["method"] == "GET":
            await _get(django_app, scope, receive, send)
        else:
            await django_app(scope, receive, send)

    return wrapped


async def _get(django_app: Application, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    allowed = await _authorise(django_app, scope, receive, send)
    if allowed is None:
        return
    grant, headers = allowed
    try:
        with serving.open_streams().admit(grant) as stream:
            await (_serve if grant.wait is None else _serve_page)(stream, headers, receive, send)
    except TooManyStreams as error:
        await _refuse(error, headers, send)


async def _authorise(
    django_app: Application, scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> tuple[Grant, Headers] | None:
    """Send the request through the wrapped application. What it answers goes to the client, unless it is a grant."""
    entrance = Entrance(secrets.token_urlsafe(16))
    asked = {**scope, Entrance.SCOPE_KEY: entrance}
    if b"ticket=" in scope.get("query_string", b""):
        scope["query_string"] = TICKET.sub(rb"\1***", scope["query_string"])  # what the server's access log shows
    answer = _Answer(entrance, send)
    await django_app(asked, receive, answer.send)
    if answer.headers is None or entrance.grant is None:
        return None
    return entrance.grant, answer.headers


class _Answer:
    """What the wrapped application answers: forwarded, unless it carries the grant's secret."""

    def __init__(self, entrance: Entrance, send: Send) -> None:
        self.headers: Headers | None = None  # of the answer that grants: cookies and CORS are the project's
        self._entrance = entrance
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._grants(message):
            self.headers = [(name, value) for name, value in message["headers"] if name.lower() not in NOT_KEPT]
        elif self.headers is None:
            await self._send(message)

    def _grants(self, message: Message) -> bool:
        given = [
            value for name, value in message.get("headers", ()) if name.lower() == Entrance.HEADER.lower().encode()
        ]
        return message["status"] == 200 and given == [self._entrance.secret.encode()]


async def _serve(stream: Stream, headers: Headers, receive: Receive, send: Send) -> None:
    """Send a stream until it, the run or the client ends."""
    start = {"type": "http.response.start", "status": 200, "headers": [*headers, _typed(wire.CONTENT_TYPE)]}
    watcher = asyncio.ensure_future(_await_disconnect(stream, receive))
    try:
        with stream.interruptible():
            await _send(stream, send, start)
            async with aclosing(stream.chunks()) as chunks:
                async for chunk in chunks:
                    await _send(stream, send, _body(chunk, more=True))
        if stream.ending in ("left", "slow"):
            return
        await send(_body(stream.form.closing() if stream.was_interrupted else b""))
    except JobNotFoundError:
        await send(_body(b""))  # deleted since it was granted
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


async def _send(stream: Stream, send: Send, message: Message) -> None:
    """Send and note since when, for the watch over stuck clients."""
    stream.sending_since = asyncio.get_running_loop().time()
    await send(message)
    stream.sending_since = None


async def _await_disconnect(stream: Stream, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end("left")


async def _refuse(error: TooManyStreams, headers: Headers, send: Send) -> None:
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
