"""Wake-ups over LISTEN/NOTIFY of the database that has the rows: no server to add.

A notification carries a number and no content, for every role of the database may listen. It is sent on a connection of
the bus's own, after the commit it tells of: NOTIFY within a transaction takes a lock that all committing clients share.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Protocol
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field

from django_ais.buses import BaseBus, LinkedSubscription, LoopThread
from django_ais.drivers import load
from django_ais.exceptions import BusError

CHANNELS = 8
ECHO_SECONDS = 2.0


class PostgresBusOptions(BaseModel):
    """Which database; by default the one that has the rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(
        default=None,
        repr=False,
        description="A libpq address, `postgresql://...`, where LISTEN needs another way in than the rows.",
    )
    prefix: str = Field(default="ais_bus", pattern=r"^[a-z_][a-z0-9_]{0,40}$", description="Begins each channel.")
    timeout_seconds: float = Field(default=1.0, gt=0, description="How long a notification may wait for the server.")


class Rows(Protocol):
    """What the core tells of the database that has the rows."""

    def address(self) -> Mapping[str, Any] | None:
        """libpq parameters; None if it is no PostgreSQL."""
        ...


class PostgresBus(BaseBus):
    """Notifies one of eight channels. Two connections a process that publishes and follows, whatever it follows."""

    options_class = PostgresBusOptions
    needs = ("psycopg",)

    carries_payload: ClassVar[bool] = False  # Does it carry the event, or only wake the reader up?

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._thread = LoopThread("ais-bus")  # a blocking connection would wait for a silent server without a bound
        self._here: dict[int, tuple[Any, asyncio.Lock]] = {}  # by process id: the connection, and whose turn it is

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        payload = f"{topic} {frames[-1].decode()}"  # the last number says all
        notifying = self._notify(channel_of(self.options.prefix, topic), payload)
        self._thread.run(notifying, seconds=self.options.timeout_seconds)
        return len(frames)

    async def _notify(self, channel: str, payload: str) -> None:
        pid = os.getpid()
        connection, turn = self._here.get(pid) or self._here.setdefault(pid, (None, asyncio.Lock()))
        async with turn:
            connection = self._here[pid][0]
            if connection is None or connection.closed:
                connection = await connected(self.address())
                self._here[pid] = (connection, turn)
            try:
                await connection.execute("SELECT pg_notify(%s, %s)", [channel, payload])
            except BaseException:  # one that was given up is of no more use
                connection.pgconn.finish()
                raise

    def address(self) -> dict[str, Any]:
        """libpq parameters. Raises `BusError` where the rows are in another kind of database and no url is given."""
        if self.options.url is not None:
            return {"conninfo": self.options.url}
        rows: Rows = load(self.source_path)
        address = rows.address()
        if address is None:
            raise BusError(
                f"bus '{self.alias}' needs PostgreSQL: the rows are in another database, and OPTIONS['url'] names none"
            )
        return dict(address)

    async def _subscribe(self) -> PostgresSubscription:
        subscription = PostgresSubscription(self.address(), self.options.prefix)
        await subscription.open()
        return subscription

    def check(self) -> list[str]:
        """A sentence if there is no PostgreSQL to listen to."""
        try:
            self.address()
        except BusError as error:
            return [str(error)]
        return []

    def probe(self) -> list[str]:
        """`check`, with a notification sent. Raises `BusError` if the server does not take it."""
        try:
            self._thread.run(self._notify(f"{self.options.prefix}_0", ""), seconds=self.options.timeout_seconds)
        except BusError:
            raise
        except Exception as error:
            raise BusError(f"bus '{self.alias}': {type(error).__name__}: {error}") from error
        return self.check()

    def close(self) -> None:
        """Let go of the connection of this process."""
        connection, _ = self._here.pop(os.getpid(), (None, None))
        if connection is not None:
            with suppress(Exception):  # it was broken already
                self._thread.run(connection.close(), seconds=ECHO_SECONDS)
        self._thread.close()


class PostgresSubscription(LinkedSubscription):
    """One connection that listens to all channels, and takes what is for its topics."""

    def __init__(self, address: Mapping[str, Any], prefix: str) -> None:
        super().__init__()
        self._address = address
        self._prefix = prefix
        self._connection: Any = None

    async def _connect(self) -> None:
        self._connection = await connected(self._address)
        for number in range(CHANNELS):
            await self._connection.execute(f'LISTEN "{self._prefix}_{number}"')
        await self._require_echo()

    async def _require_echo(self) -> None:
        """A pooler that shares sessions takes LISTEN, and nothing ever comes: refuse it here."""
        word = secrets.token_hex(8)
        await self._connection.execute("SELECT pg_notify(%s, %s)", [f"{self._prefix}_0", word])
        async for notification in self._connection.notifies(timeout=ECHO_SECONDS):
            if notification.payload == word:
                return
        raise BusError(
            "LISTEN brings nothing on this connection: a pooler in transaction mode is in between, it seems. Name the "
            "server itself in OPTIONS['url'] of the bus."
        )

    async def _listen(self, topics: Iterable[str]) -> None:
        """All channels are listened to already; a notification that was sent before now is not waited for."""

    async def _receive(self) -> AsyncIterator[tuple[str, bytes]]:
        async for notification in self._connection.notifies():
            topic, _, frame = notification.payload.partition(" ")
            if frame:
                yield topic, frame.encode()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            async with asyncio.timeout(ECHO_SECONDS):
                await connection.close()


async def connected(address: Mapping[str, Any]) -> Any:
    """A connection of the bus's own."""
    from psycopg import AsyncConnection

    return await AsyncConnection.connect(**{**address, "application_name": "ais-bus", "autocommit": True})


def channel_of(prefix: str, topic: str) -> str:
    """One of a few channels: more of them would make listening dearer for everybody."""
    return f"{prefix}_{crc32(topic.encode()) % CHANNELS}"
