"""Listeners over TCP, in a process of their own: ``python -m tests.benchmarks.streaming.listeners PORT PATH COOKIE``.

They keep what comes with the moment of its coming and read it afterwards, so that as little as can be is done while
the server is measured.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from functools import partial
from typing import Any

from tests.benchmarks.peers import serving
from tests.benchmarks.streaming.hearing import Audience
from tests.benchmarks.streaming.speech import MARK

SAID = re.compile(re.escape(MARK) + rb"(\d+\.\d+) ")


class Listener(asyncio.Protocol):
    """One client: what it was sent since it was last asked."""

    def __init__(self, request: bytes) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pieces: list[tuple[float, bytes]] = []
        self.heard = 0
        self._request = request
        self._head = b""

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.time(), data))
        self.heard += data.count(MARK)
        if not self.opened.done():
            self._open(data)

    def _open(self, data: bytes) -> None:
        self._head += data
        head, _, body = self._head.partition(b"\r\n\r\n")
        if body and b" 200 " in head.partition(b"\r\n")[0]:
            self.opened.set_result(None)
        elif body:
            self.opened.set_exception(RuntimeError(self._head.decode(errors="replace")))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("the server hung up before it answered"))

    def take(self) -> dict[float, float]:
        """When each text was said, and when it first came; forgets them."""
        pieces, self.pieces, self.heard = self.pieces, [], 0
        found: dict[float, float] = {}
        whole, ends = b"".join(data for _, data in pieces), iter(pieces)
        came, end = 0.0, 0
        for match in SAID.finditer(whole):
            while end < match.end():
                came, data = next(ends)
                end += len(data)
            found.setdefault(float(match[1]), came)
        return found


async def connected(port: int, path: str, cookie: str) -> Listener:
    """A listener whose request has been answered."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: text/event-stream", f"Cookie: {cookie}"]
    request = "\r\n".join([*lines, "", ""]).encode()
    _, listener = await asyncio.get_running_loop().create_connection(lambda: Listener(request), "127.0.0.1", port)
    await listener.opened
    return listener


if __name__ == "__main__":
    audience = Audience(partial(connected, int(sys.argv[1]), sys.argv[2], sys.argv[3]))
    serving.serve(open=audience.open, hear=audience.hear)
