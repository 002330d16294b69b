"""One request to an ASGI application in this process, with its client played by the test: what a server would do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from django.core.asgi import get_asgi_application

from django_ais.asgi import application


class Exchange:
    """A request, and what has come back so far."""

    def __init__(self, path: str, *, method: str, headers: dict[str, str], app: Any) -> None:
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
        self._incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
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
    path: str, *, cookie: str = "", method: str = "GET", app: Any = None, **headers: str
) -> AsyncIterator[Exchange]:
    """Send a request; headers as ``Last_Event_ID="3"``. At the end of the block its client is gone."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    made = Exchange(
        path, method=method, headers={**given, **({"cookie": cookie} if cookie else {})},
        app=app or application(get_asgi_application()),
    )  # fmt: skip
    try:
        yield made
    finally:
        made.hang_up()
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)
