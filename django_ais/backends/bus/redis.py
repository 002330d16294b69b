"""Frames over Redis Pub/Sub: one connection to publish and one to listen for each process, whatever it follows.

Pub/Sub keeps nothing: what is published while a listener is away is gone for it. The reader learns of each such time
and looks at the rows.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from django_ais.buses import BaseBus, LinkedSubscription
from django_ais.exceptions import BusError

PING_SECONDS = 5.0  # a listener that hears nothing, not even the answer to a ping, for two of these links anew


class RedisBusOptions(BaseModel):
    """Which server, and how its channels are named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="redis://localhost:6379/0", description="Where Redis is. `rediss://` encrypts.")
    prefix: str = Field(default="ais:", description="Begins each channel. Projects that share a server need one each.")
    timeout_seconds: float = Field(default=1.0, gt=0, description="How long a publish may wait for the server.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("begins with redis://, rediss:// or unix://")
        return url


class RedisBus(BaseBus):
    """Publishes with one round trip a commit. A lost connection is noticed at once, a frozen server in ten seconds."""

    options_class = RedisBusOptions
    needs = ("redis",)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._clients: dict[int, Any] = {}  # by process id; a parent's must not be used in a child

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        channel = self.options.prefix + topic
        client = self._client()
        if len(frames) == 1:
            client.publish(channel, frames[0])
            return 1
        with client.pipeline(transaction=False) as pipeline:
            for frame in frames:
                pipeline.publish(channel, frame)
            pipeline.execute()
        return len(frames)

    def _client(self) -> Any:
        pid = os.getpid()
        if (found := self._clients.get(pid)) is not None:
            return found
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with self._lock:
            if pid not in self._clients:
                seconds = self.options.timeout_seconds
                self._clients[pid] = Redis.from_url(
                    self.options.url, socket_timeout=seconds, socket_connect_timeout=seconds,
                    retry=Retry(NoBackoff(), 0),
                )  # fmt: skip
            return self._clients[pid]

    async def _subscribe(self) -> RedisSubscription:
        subscription = RedisSubscription(self.options)
        await subscription.open()
        return subscription

    def check(self) -> list[str]:
        """A sentence about a server that others can reach or read."""
        from urllib.parse import urlsplit

        place = urlsplit(self.options.url)
        if place.scheme == "unix" or place.hostname in (None, "localhost", "127.0.0.1", "::1"):
            return []
        if place.scheme == "rediss" and place.password:
            return []
        return [
            f"Bus '{self.alias}': Redis at {place.hostname} is reached without a password or without TLS. Events of "
            "all tenants pass there in the clear. Use rediss:// with a password."
        ]

    def probe(self) -> list[str]:
        """`check`, with the server asked. Raises `BusError` if it does not answer."""
        try:
            self._client().ping()
        except Exception as error:
            raise BusError(f"bus '{self.alias}': {type(error).__name__}: {error}") from error
        return self.check()

    def close(self) -> None:
        """Let go of the connections of this process."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()


class RedisSubscription(LinkedSubscription):
    """One connection that has subscribed to all topics of a process."""

    def __init__(self, options: RedisBusOptions) -> None:
        super().__init__()
        self._options = options
        self._prefix = options.prefix.encode()
        self._connection: Any = None
        self._heard_at = 0.0

    async def _connect(self) -> None:
        from redis.asyncio.connection import ConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        pool: Any = ConnectionPool.from_url(
            self._options.url, protocol=2, socket_timeout=None, retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=self._options.timeout_seconds, health_check_interval=0,
        )  # fmt: skip
        self._connection = pool.make_connection()
        await self._connection.connect()

    async def _listen(self, topics: Iterable[str]) -> None:
        channels = [self._prefix + topic.encode() for topic in topics]
        await self._acknowledged(channels, self._send("SUBSCRIBE", *channels))

    async def _unlisten(self, topics: Iterable[str]) -> None:
        await self._send("UNSUBSCRIBE", *(self._prefix + topic.encode() for topic in topics))

    async def _send(self, *words: str | bytes) -> None:
        from redis.exceptions import RedisError

        try:
            await self._connection.send_command(*words, check_health=False)
        except RedisError as error:
            raise ConnectionError(str(error)) from error

    async def _receive(self) -> AsyncIterator[tuple[str, bytes]]:
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        watching = asyncio.create_task(self._watch(self._connection))
        try:
            while True:
                said = await self._connection.read_response(disconnect_on_error=False)
                self._heard_at = loop.time()
                kind, channel = (said[0], said[1]) if isinstance(said, list) else (said, b"")
                if kind == b"message":
                    yield channel[len(self._prefix) :].decode(errors="replace"), said[2]
                elif kind == b"subscribe":
                    self._acknowledge(channel)
        finally:
            watching.cancel()

    async def _watch(self, connection: Any) -> None:
        """Ping; end a link on which nothing comes back."""
        loop = asyncio.get_running_loop()
        while loop.time() - self._heard_at < 2 * PING_SECONDS:
            await self._send("PING")
            await asyncio.sleep(PING_SECONDS)
        await connection.disconnect(nowait=True)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
