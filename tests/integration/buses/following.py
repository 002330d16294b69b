"""What the tests of bus drivers share: the drivers with their servers, a follower's ears, a job's voice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

from django_ais.backends.bus.nats import NatsBus
from django_ais.backends.bus.postgres import PostgresBus
from django_ais.backends.bus.redis import RedisBus
from django_ais.buses import BaseBus, Hint, Reconnected, Subscription
from django_ais.conformance.servers import NatsServer, PostgresServer, RedisServer
from django_ais.events import Envelope

KEYS = [b"k" * 32]
DRIVERS = {
    "redis": (RedisBus, RedisServer, "redis://127.0.0.1:{port}/0"),
    "nats": (NatsBus, NatsServer, "nats://127.0.0.1:{port}"),
    "postgres": (PostgresBus, PostgresServer, "postgresql://postgres@127.0.0.1:{port}/postgres"),
}
SECONDS = 15.0
RUN = UUID(int=7)


def envelope(seq: int, text: str = "hello") -> Envelope:
    """An event of the run."""
    return Envelope(
        seq=seq, run=RUN, job=RUN, tenant="a", type="message.delta", time=datetime.now(UTC),
        data={"message": "m", "text": text},
    )  # fmt: skip


@asynccontextmanager
async def following(
    bus: BaseBus, *topics: str
) -> AsyncIterator[tuple[Subscription, asyncio.Queue[Hint | Reconnected]]]:
    """A subscription, and a queue of what it yields."""
    subscription = await bus.subscribe(topics)
    heard: asyncio.Queue[Hint | Reconnected] = asyncio.Queue()

    async def listen() -> None:
        async for item in subscription:
            heard.put_nowait(item)

    listening = asyncio.create_task(listen())
    try:
        yield subscription, heard
    finally:
        await subscription.close()
        await asyncio.wait_for(listening, SECONDS)


async def publish(bus: BaseBus, topic: str, *envelopes: Envelope) -> int:
    """As a job's thread does."""
    return await asyncio.to_thread(bus.publish, topic, envelopes)


async def next_hint(heard: asyncio.Queue[Hint | Reconnected]) -> Hint:
    """The next hint, whatever is told of the link before it."""
    async with asyncio.timeout(SECONDS):
        while isinstance(item := await heard.get(), Reconnected):
            pass
        return item
