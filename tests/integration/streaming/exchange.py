"""A request or a socket of an ASGI application in this process, its client played by the test: as a server would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from django.core.asgi import get_asgi_application

from django_ais.asgi import application
from django_ais.contrib.channels import EventConsumer


class Exchange:
    """A request, and what has come back so far."""

    def __init__(self, path: str, *, method: str, headers: dict[str, str], app: Any, body: bytes = b"") -> None:
        path, _, query = path.partition("?")
        lines = {"host": "testserver", **headers}
        self.scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in lines.items()],
            "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_over = False
        self.is_stuck = False
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._changed = asyncio.Event()
        self._unstuck = asyncio.Event()
        self.task = asyncio.ensure_future(app(self.scope, self._incoming.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        if self.is_stuck:
            await self._unstuck.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
            self.is_over = not message.get("more_body", False)
        self._changed.set()

    async def until(self, question: Callable[[Exchange], bool], *, seconds: float = 10.0) -> Exchange:
        """Wait for something to be true of what has come back."""
        async with asyncio.timeout(seconds):
            while not question(self):
                if self.task.done():
                    self.task.result()
                    assert question(self), f"it ended first: {self.status} {self.body!r}"
                    break
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([changed, self.task], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        return self

    async def finished(self, *, seconds: float = 10.0) -> Exchange:
        """Wait for the application to be through with it."""
        await asyncio.wait_for(asyncio.shield(self.task), seconds)
        return self

    def hang_up(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that have come as frames."""
        blocks = self.body.decode().split("\n\n")
        return [json.loads(block.partition("data: ")[2]) for block in blocks if "\ndata: " in block]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def exchange(
    path: str, *, cookie: str = "", method: str = "GET", app: Any = None, document: Any = None, **headers: str
) -> AsyncIterator[Exchange]:
    """Send a request; headers as ``Last_Event_ID="3"``, a JSON body as ``document``. At the end of the block its client
    is gone.
    """
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    body = b"" if document is None else json.dumps(document).encode()
    given |= {"content-type": "application/json", "content-length": str(len(body))} if body else {}
    made = Exchange(
        path, method=method, headers={**given, **({"cookie": cookie} if cookie else {})},
        app=app or application(get_asgi_application()), body=body,
    )  # fmt: skip
    try:
        yield made
    finally:
        made.hang_up()
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


class PlayedSocket:
    """A socket of the consumer's, and what it has said so far."""

    def __init__(self, user: Any) -> None:
        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "user": user,
            "path": "/ais/socket", "raw_path": b"/ais/socket", "query_string": b"", "root_path": "", "subprotocols": [],
            "headers": [(b"host", b"testserver"), (b"origin", b"http://testserver")],
        }  # fmt: skip
        self.said: list[dict[str, Any]] = []
        self.flows = asyncio.Event()  # cleared: the client takes nothing
        self.flows.set()
        self.is_held = asyncio.Event()  # something waits for the client to take it
        self._is_broken = False
        self._code: int | None = None
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        self._unread: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.ensure_future(EventConsumer.as_asgi()(scope, self._incoming.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        if not self.flows.is_set():
            self.is_held.set()
        await self.flows.wait()
        if self._is_broken:
            raise OSError("the client is gone")
        if message["type"] == "websocket.send":
            self.said.append(json.loads(message["text"]))
            self._unread.put_nowait(self.said[-1])
        else:
            self._code = message.get("code")

    def tell(self, **document: Any) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(document)})

    def follow(self, run: Any) -> None:
        self.tell(op="follow", run=str(getattr(run, "id", run)))

    def hang_up(self) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})

    def break_off(self) -> None:
        """From now on the server's send says that the client is gone, and nothing else does."""
        self._is_broken = True

    async def until(self, question: Callable[[dict[str, Any]], Any], *, seconds: float = 10.0) -> dict[str, Any]:
        """The next thing said of which something is true."""
        while not question(said := await asyncio.wait_for(self._unread.get(), seconds)):
            pass
        return said

    async def closed(self, *, seconds: float = 10.0) -> int | None:
        """The code that it was closed with, once the application is through with it; None when it was not closed."""
        await asyncio.wait_for(asyncio.shield(self.task), seconds)
        return self._code


@asynccontextmanager
async def played(user: Any) -> AsyncIterator[PlayedSocket]:
    """Open a socket for a user. At the end of the block its client is gone."""
    made = PlayedSocket(user)
    try:
        yield made
    finally:
        made.hang_up()
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)
