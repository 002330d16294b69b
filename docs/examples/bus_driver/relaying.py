"""A bus over `relay`: one connection of a process to publish, one to listen."""

import asyncio
import base64
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from django_ais.buses import BaseBus, LinkedSubscription
from django_ais.exceptions import BusError

PING_SECONDS = 5.0


class RelayOptions(BaseModel):
    """Where the relay is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="The relay's host.")
    port: int = Field(description="The relay's port.")
    timeout_seconds: float = Field(default=1.0, gt=0, description="How long a publish may wait for the relay.")


class RelayBus(BaseBus):
    """Says each frame in a line and waits until the relay took it."""

    options_class = RelayOptions
    max_inline_bytes = 256 * 1024

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._sockets: dict[int, socket.socket] = {}  # by process: a parent's must not be used in a child

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        lines = b"".join(b"PUB %s %s\n" % (name_of(topic), base64.b64encode(frame)) for frame in frames)
        self.ask(lines, answers=len(frames))
        return len(frames)

    def ask(self, lines: bytes, *, answers: int) -> None:
        """Say something and read so many lines. Raises OSError, and then begins anew with the next call."""
        with self._lock:
            try:
                connection = self._sockets.get(os.getpid()) or self.connect()
                connection.sendall(lines)
                while answers > 0:
                    if not (heard := connection.recv(65_536)):
                        raise ConnectionResetError("the relay hung up")
                    answers -= heard.count(b"\n")
            except OSError:
                self.hang_up()
                raise

    def connect(self) -> socket.socket:
        """The connection of this process."""
        place = (self.options.host, self.options.port)
        connection = socket.create_connection(place, timeout=self.options.timeout_seconds)
        self._sockets[os.getpid()] = connection
        return connection

    def hang_up(self) -> None:
        """Let go of the connection of this process."""
        connection = self._sockets.pop(os.getpid(), None)
        if connection is not None:
            connection.close()

    async def _subscribe(self) -> "RelaySubscription":
        subscription = RelaySubscription(self.options)
        await subscription.open()
        return subscription

    def probe(self) -> list[str]:
        """`check`, with the relay asked. Raises `BusError` if it does not answer."""
        try:
            self.ask(b"PING -\n", answers=1)
        except OSError as error:
            raise BusError(f"bus '{self.alias}': {error}") from error
        return self.check()

    def close(self) -> None:
        """Let go of the connection of this process."""
        with self._lock:
            self.hang_up()


class RelaySubscription(LinkedSubscription):
    """One connection for all topics of a process. Made again by `LinkedSubscription`, which tells the reader."""

    def __init__(self, options: RelayOptions) -> None:
        super().__init__()
        self._options = options
        self._writer: asyncio.StreamWriter | None = None

    async def _connect(self) -> None:
        place = (self._options.host, self._options.port)
        self._reader, self._writer = await asyncio.open_connection(*place)

    async def _listen(self, topics: Iterable[str]) -> None:
        names = [name_of(topic) for topic in topics]
        await self._acknowledged(names, self._say(*(b"SUB " + name for name in names)))

    async def _unlisten(self, topics: Iterable[str]) -> None:
        await self._say(*(b"UNSUB " + name_of(topic) for topic in topics))

    async def _say(self, *lines: bytes) -> None:
        if self._writer is None:
            raise ConnectionError("there is no link")
        self._writer.write(b"".join(line + b"\n" for line in lines))

    async def _receive(self) -> AsyncIterator[tuple[str, bytes]]:
        rest = b""
        while True:
            *lines, rest = (rest + await self._heard()).split(b"\n")
            for line in lines:
                verb, name, *frame = line.split()
                if verb == b"OK":
                    self._acknowledge(name)
                elif verb == b"MSG":
                    yield topic_of(name), base64.b64decode(frame[0])

    async def _heard(self) -> bytes:
        """Raises ConnectionError or TimeoutError where the relay is gone, or dumb: then it does not answer a ping."""
        try:
            heard = await self._read()
        except TimeoutError:
            await self._say(b"PING -")
            heard = await self._read()
        if not heard:
            raise ConnectionResetError("the relay hung up")
        return heard

    async def _read(self) -> bytes:
        async with asyncio.timeout(PING_SECONDS):
            return await self._reader.read(65_536)

    async def _disconnect(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.abort()


def name_of(topic: str) -> bytes:
    """A topic as one word of a line, whatever is in it."""
    return base64.b64encode(topic.encode())


def topic_of(name: bytes) -> str:
    """The topic again."""
    return base64.b64decode(name).decode()
