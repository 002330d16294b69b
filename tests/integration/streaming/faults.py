"""Buses that fail in the ways real ones do: a broker over TCP that drops, repeats, reorders, stops and comes back, and
a bus in memory that does the same or raises.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from django_ais.backends.bus.memory import MemoryBus
from django_ais.buses import BaseBus, Reconnected, Subscription
from django_ais.exceptions import BusError

logger = logging.getLogger(__name__)

DROPPED = 0.05
REPEATED = 0.03
HELD_BACK = 0.03


class Mangler:
    """What becomes of frames on the way: some lost, some twice, some after those that follow them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._late: list[Any] = []
        self.lost = self.repeated = self.late = 0

    def pass_on(self, frame: Any) -> list[Any]:
        """The frames that arrive now."""
        late, self._late = self._late, []
        chance = self._random.random()
        if chance < DROPPED:
            self.lost += 1
            return late
        if chance < DROPPED + REPEATED:
            self.repeated += 1
            return [frame, *late, frame]
        if chance < DROPPED + REPEATED + HELD_BACK:
            self.late += 1
            self._late = [frame]
            return late
        return [frame, *late]


class FaultyBus(MemoryBus):
    """In this process: loses, repeats and reorders always; raises while it is told to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_down = False
        self.failure: type[BaseException] = ConnectionError
        self.mangler = Mangler(seed=7)
        self._mangling = threading.Lock()
        self._subscriptions: list[Subscription] = []

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        if self.is_down:
            raise ConnectionError("the test took this bus down")
        with self._mangling:
            arriving = [found for frame in frames for found in self.mangler.pass_on((topic, frame))]
        for to, frame in arriving:
            super()._publish(to, [frame])
        return len(frames)

    async def _subscribe(self) -> Any:
        if self.is_down:
            raise self.failure("the test took this bus down")
        subscription = await super()._subscribe()
        self._subscriptions.append(subscription)
        return subscription

    async def go_down(self) -> None:
        """Hang up on everybody and raise from now on."""
        self.is_down = True
        for subscription in self._subscriptions:
            await subscription.close()
        self._subscriptions.clear()


class Broker:
    """A broker on a port of this machine, in a thread; every frame that it passes on is mangled."""

    def __init__(self, *, seed: int = 11) -> None:
        self.mangler = Mangler(seed)
        self.port = 0
        self.passed = 0
        self._loop = asyncio.new_event_loop()
        self._listeners: dict[str, set[asyncio.StreamWriter]] = defaultdict(set)
        self._connections: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Broker:
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-broker", daemon=True)
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def stop(self) -> None:
        """As a crash: everybody is cut off, and what was under way is lost."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._listeners.clear()
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        try:
            while line := await reader.readline():
                verb, topic, *rest = line.split()
                if verb == b"listen":
                    self._listeners[topic.decode()].add(writer)
                    writer.write(b"listening " + topic + b"\n")
                elif verb == b"forget":
                    self._listeners[topic.decode()].discard(writer)
                else:
                    self._pass_on(topic.decode(), rest[0])
        except OSError:
            logger.debug("a connection of the broker broke")
        finally:
            for listeners in self._listeners.values():
                listeners.discard(writer)
            self._connections.discard(writer)
            self._serving.discard(serving)
            writer.transport.abort()

    def _pass_on(self, topic: str, frame: bytes) -> None:
        for to, mangled in self.mangler.pass_on((topic, frame)):
            for writer in list(self._listeners[to]):
                self.passed += 1
                writer.write(b"frame " + to.encode() + b" " + mangled + b"\n")


class SocketOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int


class SocketBus(BaseBus):
    """The driver of `Broker`: one connection to publish, one to listen, and no cleverness."""

    options_class = SocketOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        text = b"".join(b"publish " + topic.encode() + b" " + frame.hex().encode() + b"\n" for frame in frames)
        with self._lock:
            try:
                if self._socket is None:
                    self._socket = socket.create_connection(("127.0.0.1", self.options.port), timeout=1)
                self._socket.sendall(text)
            except OSError:
                self._hang_up()
                raise
        return len(frames)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _subscribe(self) -> SocketSubscription:
        try:
            return SocketSubscription(*await asyncio.open_connection("127.0.0.1", self.options.port, limit=2**20))
        except OSError as error:
            raise BusError(f"no broker: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._hang_up()


class SocketSubscription(Subscription):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[str, asyncio.Event] = {}
        self._frames: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                verb, topic, *rest = line.split()
                if verb == b"listening":
                    self._waiting.pop(topic.decode()).set()
                else:
                    self._frames.put_nowait((topic.decode(), bytes.fromhex(rest[0].decode())))
        except OSError:
            logger.debug("the broker hung up")
        finally:
            self._frames.put_nowait(None)

    async def add(self, topics: Iterable[str]) -> None:
        for topic in topics:
            heard = self._waiting.setdefault(topic, asyncio.Event())
            self._writer.write(b"listen " + topic.encode() + b"\n")
            await heard.wait()

    async def discard(self, topics: Iterable[str]) -> None:
        for topic in topics:
            self._writer.write(b"forget " + topic.encode() + b"\n")

    async def frames(self) -> AsyncIterator[tuple[str, bytes] | Reconnected]:
        while (frame := await self._frames.get()) is not None:
            yield frame
        raise BusError("the broker hung up")

    async def close(self) -> None:
        self._task.cancel()
        self._writer.transport.abort()
