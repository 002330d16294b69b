"""A follower over TCP: what ``EventSource`` does, in a few lines of asyncio and no library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Frame:
    """One server-sent event."""

    id: str = ""
    event: str = ""
    data: str = ""

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.data)
        return found


@dataclass
class Answer:
    """An HTTP answer whose body is read as it comes."""

    status: int
    headers: dict[str, str]
    _reader: asyncio.StreamReader
    raw: bytearray = field(default_factory=bytearray)
    comments: list[str] = field(default_factory=list)
    retry: int | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces, chunked or of a known length."""
        if "content-length" in self.headers:
            yield await self._reader.readexactly(int(self.headers["content-length"]))
            return
        if self.headers.get("transfer-encoding") != "chunked":
            return
        while size := int(await self._line(), 16):
            chunk = await self._reader.readexactly(size)
            await self._reader.readexactly(2)
            yield chunk

    async def _line(self) -> bytes:
        if not (line := await self._reader.readline()):
            raise ConnectionError("the server hung up within an answer")
        return line

    async def body(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def json(self) -> Any:
        return json.loads(await self.body())

    async def frames(self) -> AsyncIterator[Frame]:
        """The events, until the answer ends."""
        rest = b""
        async for chunk in self.chunks():
            self.raw += chunk
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                frame = self._frame(block.decode())
                if frame.data:
                    yield frame
        assert rest == b"", f"the stream ended within a frame: {rest!r}"

    def _frame(self, block: str) -> Frame:
        frame = Frame()
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments.append(line[2:])
            elif name == "retry":
                self.retry = int(value)
            else:
                setattr(frame, name, value)
        return frame


@asynccontextmanager
async def asked(
    port: int,
    path: str,
    *,
    method: str = "GET",
    cookie: str = "",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> AsyncIterator[Answer]:
    """Send a request; its answer, with the body still to come. At the end of the block the connection is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = {"Host": f"127.0.0.1:{port}", "Cookie": cookie, "Content-Length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        yield await _answer(reader)
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    first = (await reader.readline()).split()
    if not first:
        raise ConnectionError("the server hung up without an answer")
    found = {}
    while (line := (await reader.readline()).decode("latin-1").strip()) != "":
        name, _, value = line.partition(": ")
        found[name.lower()] = value
    return Answer(int(first[1]), found, reader)
