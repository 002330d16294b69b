"""Frames over NATS: plain subjects, one connection to publish and one to listen for each process.

Core NATS keeps nothing, and its client library accepts what it cannot send while it reconnects, and forgets it. So no
connection here reconnects by itself: a lost one is replaced by ours, and the reader is told.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from django_ais.buses import BaseBus, LinkedSubscription, LoopThread
from django_ais.exceptions import BusError

CONNECT_SECONDS = 2
PING_SECONDS = 5


class NatsBusOptions(BaseModel):
    """Where the server is, how to log in, and how subjects are named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="nats://localhost:4222", description="The server, or several with commas between them.")
    prefix: str = Field(
        default="ais.bus",
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        description="Begins each subject. Projects that share a server need one each.",
    )
    user: str | None = Field(default=None, description="User name.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    token: SecretStr | None = Field(default=None, description="Token, for servers that know no users.")
    timeout_seconds: float = Field(default=1.0, gt=0, description="How long a publish may wait for the server.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if any("://" in server and not server.strip().startswith(("nats://", "tls://")) for server in url.split(",")):
            raise ValueError("each server begins with nats:// or tls://")
        return url

    def connection(self) -> dict[str, Any]:
        """What `nats.connect` is told."""
        return {
            "servers": [server.strip() for server in self.url.split(",")],
            "user": self.user,
            "password": self.password.get_secret_value() if self.password else None,
            "token": self.token.get_secret_value() if self.token else None,
            "allow_reconnect": False,
            "connect_timeout": CONNECT_SECONDS,
            "ping_interval": PING_SECONDS,
            "max_outstanding_pings": 1,
        }


class NatsBus(BaseBus):
    """Publishes through a thread that has the connection, and waits until the server has the frames."""

    options_class = NatsBusOptions
    needs = ("nats",)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._thread = LoopThread("ais-bus")
        self._links: dict[int, Link] = {}  # by process id

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        self._thread.run(self._send(subject_of(self.options.prefix, topic), frames), seconds=self._patience)
        return len(frames)

    @property
    def _patience(self) -> float:
        return float(self.options.timeout_seconds) + CONNECT_SECONDS

    async def _send(self, subject: str, frames: Sequence[bytes]) -> None:
        pid = os.getpid()
        link = self._links.get(pid) or self._links.setdefault(pid, Link(self.options))
        await link.send(subject, frames)

    async def _subscribe(self) -> NatsSubscription:
        subscription = NatsSubscription(self.options)
        await subscription.open()
        return subscription

    def check(self) -> list[str]:
        """A sentence about servers that others can reach or read."""
        from urllib.parse import urlsplit

        for server in self.options.connection()["servers"]:
            place = urlsplit(server if "://" in server else f"nats://{server}")
            is_here = place.hostname in ("localhost", "127.0.0.1", "::1")
            if not is_here and (place.scheme != "tls" or not (self.options.user or self.options.token)):
                return [
                    f"Bus '{self.alias}': NATS at {place.hostname} is reached without a login or without TLS. Events "
                    "of all tenants pass there in the clear. Use tls:// and a user or a token."
                ]
        return []

    def probe(self) -> list[str]:
        """`check`, with the server asked. Raises `BusError` if it does not answer."""
        try:
            self._thread.run(self._send(subject_of(self.options.prefix, "probe"), ()), seconds=self._patience)
        except Exception as error:
            raise BusError(f"bus '{self.alias}': {type(error).__name__}: {error}") from error
        return self.check()

    def close(self) -> None:
        """Let go of the connection of this process."""
        link = self._links.pop(os.getpid(), None)
        if link is not None:
            with suppress(Exception):  # it was broken already
                self._thread.run(link.close(), seconds=CONNECT_SECONDS)
        self._thread.close()


class Link:
    """The connection that a process publishes on, made with the first frame and whenever it was lost."""

    def __init__(self, options: NatsBusOptions) -> None:
        self._options = options
        self._turn = asyncio.Lock()
        self._lost: asyncio.Future[None] | None = None
        self.client: Any = None

    async def send(self, subject: str, frames: Sequence[bytes]) -> None:
        """Send frames and wait until the server has them. Raises ConnectionError as soon as it hangs up."""
        client, lost = await self._connected()
        for frame in frames:
            await client.publish(subject, frame)
        flushing = asyncio.ensure_future(client.flush(self._options.timeout_seconds))
        try:
            await asyncio.wait({flushing, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not flushing.done():  # it would wait for its answer all the same
                raise ConnectionError("the server hung up")
            flushing.result()
        finally:
            flushing.cancel()

    async def _connected(self) -> tuple[Any, asyncio.Future[None]]:
        async with self._turn:
            if self._lost is None or not self.client.is_connected:
                import nats

                lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

                async def lose() -> None:
                    if not lost.done():
                        lost.set_result(None)

                self.client = await nats.connect(**self._options.connection(), error_cb=_ignore, disconnected_cb=lose)
                self._lost = lost
            return self.client, self._lost

    async def close(self) -> None:
        if self.client is not None:
            await self.client.close()


class NatsSubscription(LinkedSubscription):
    """One connection with a subject for each topic."""

    def __init__(self, options: NatsBusOptions) -> None:
        super().__init__()
        self._options = options
        self._client: Any = None
        self._arrived: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()
        self._subscriptions: dict[str, Any] = {}

    async def _connect(self) -> None:
        import nats

        self._arrived = asyncio.Queue()
        self._subscriptions = {}
        self._client = await nats.connect(
            **self._options.connection(), error_cb=_ignore, disconnected_cb=self._lost, closed_cb=self._lost
        )

    async def _lost(self) -> None:
        self._arrived.put_nowait(None)

    async def _listen(self, topics: Iterable[str]) -> None:
        for topic in topics:
            arrived = self._arrived

            async def put(message: Any, topic: str = topic, arrived: asyncio.Queue[Any] = arrived) -> None:
                arrived.put_nowait((topic, message.data))

            subject = subject_of(self._options.prefix, topic)
            self._subscriptions[topic] = await self._client.subscribe(subject, cb=put)
        await self._client.flush(CONNECT_SECONDS)

    async def _unlisten(self, topics: Iterable[str]) -> None:
        for topic in topics:
            if (subscription := self._subscriptions.pop(topic, None)) is not None:
                await subscription.unsubscribe()

    async def _receive(self) -> AsyncIterator[tuple[str, bytes]]:
        while (frame := await self._arrived.get()) is not None:
            yield frame

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.close()


async def _ignore(error: Exception) -> None:
    """The client library prints errors otherwise; what matters raises, or ends the link."""


def subject_of(prefix: str, topic: str) -> str:
    """A subject of two tokens or more; whatever means something to NATS in a topic is written in hexadecimal."""
    return f"{prefix}.{re.sub(r'[^A-Za-z0-9_-]', lambda found: f'={ord(found[0]):x}=', topic)}"
