"""The WebSocket over TCP: a server that has it, and a client that does what a browser's page would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.streaming.servers import UvicornServer


def served_sockets(folder: Path, **own: Any) -> UvicornServer:
    """A server of the site with these settings."""
    own = {"STREAM_DRAIN_SECONDS": 1, "TENANT_RESOLVER": "tests.integration.streaming.site.by_header", **own}
    return UvicornServer(folder, app="sockets", AIS_TEST_BUS="database", AIS_TEST_SETTINGS=json.dumps(own))


class SocketClient:
    """One open socket, and what came over it so far."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.said: list[dict[str, Any]] = []

    async def tell(self, **document: Any) -> None:
        await self.tell_raw(json.dumps(document))

    async def tell_raw(self, message: str | bytes) -> None:
        await self._connection.send(message)

    async def follow(self, run: Any, **more: Any) -> None:
        await self.tell(op="follow", run=str(getattr(run, "id", run)), **more)

    async def heard(self, *, seconds: float = 10.0) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(seconds):
            found: dict[str, Any] = json.loads(await self._connection.recv())
        self.said.append(found)
        return found

    async def until(self, question: Callable[[dict[str, Any]], Any], *, seconds: float = 10.0) -> dict[str, Any]:
        """The next message of which something is true."""
        async with asyncio.timeout(seconds):
            while not question(found := await self.heard(seconds=seconds)):
                pass
            return found

    async def until_op(self, op: str, run: Any = None, *, seconds: float = 10.0) -> dict[str, Any]:
        """The next message of that kind, about that run if one is given."""
        wanted = {"op": op} | ({} if run is None else {"run": str(run.id)})
        return await self.until(lambda said: wanted.items() <= said.items(), seconds=seconds)

    async def closed(self, *, seconds: float = 10.0) -> int:
        """Read to the end; the code that the server closed it with."""
        try:
            while True:
                await self.heard(seconds=seconds)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    def events(self, run: Any) -> list[dict[str, Any]]:
        return [said for said in self.said if "seq" in said and said["run"] == str(run.id)]

    def numbers(self, run: Any) -> list[int]:
        return [event["seq"] for event in self.events(run)]


@asynccontextmanager
async def socket(
    port: int, *, cookie: str = "", origin: str | None = None, headers: dict[str, str] | None = None, **how: Any
) -> AsyncIterator[SocketClient]:
    """Open a socket as a page of the site does, unless another ``origin`` is given ("" for none)."""
    given = {**({"Cookie": cookie} if cookie else {}), **(headers or {})}
    async with connect(
        f"ws://127.0.0.1:{port}/ais/socket",
        origin=f"http://127.0.0.1:{port}" if origin is None else origin or None,  # type: ignore[arg-type]
        additional_headers=given, proxy=None, close_timeout=1, **how,
    ) as connection:  # fmt: skip
        yield SocketClient(connection)
