"""Somebody writes to the broker by hand: followers see what was committed, once and in order, and no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import nats
import psycopg
import pytest
from asgiref.sync import async_to_sync
from channels.layers import channel_layers, get_channel_layer
from redis import Redis

from django_ais import jobs, registry, tenancy
from django_ais.backends.bus.channels import TYPE, group_of
from django_ais.backends.bus.postgres import channel_of
from django_ais.buses import BaseBus
from django_ais.conformance.servers import RedisServer
from django_ais.events import Envelope
from django_ais.runtime import reading, streams
from tests.app.behaviour_workers import Gate, settings_of, worker_of
from tests.harness.private import private
from tests.integration.buses.following import DRIVERS
from tests.integration.streaming.conftest import in_a_thread

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.timeout(60)]

Forger = Callable[[str, list[bytes]], None]  # writes frames to the broker, where those of a topic go

LINES = 40
STOP = 10  # the line after which the job waits, while the broker is written to
GARBAGE = [
    b"not a frame",
    b"{",
    b"[]",
    b"null",
    b'{"run":"1","seq":2}',
    b'{"run":"%s","seq":"many"}',
    b"[" * 3_000,
    "\xff".encode("latin-1") * 40,
]


def to_redis(address: str) -> Forger:
    def forge(topic: str, frames: list[bytes]) -> None:
        with Redis.from_url(address) as client:
            for frame in frames:
                assert client.publish(f"ais:{topic}", frame) == 1, "nobody listens"

    return forge


def to_nats(address: str) -> Forger:
    async def forge(topic: str, frames: list[bytes]) -> None:
        client = await nats.connect(address)
        for frame in frames:
            await client.publish(f"ais.bus.{topic}", frame)
        await client.close()

    return lambda topic, frames: asyncio.run(forge(topic, frames))


def to_postgres(address: str) -> Forger:
    def forge(topic: str, frames: list[bytes]) -> None:
        with psycopg.connect(address, autocommit=True) as client:
            for frame in frames:
                payload = f"{topic} {frame.decode('latin-1')}"
                client.execute("SELECT pg_notify(%s, %s)", [channel_of("ais_bus", topic), payload])

    return forge


def to_the_layer(topic: str, frames: list[bytes]) -> None:
    for frame in frames:
        message = {"type": TYPE, "topic": topic, "frame": frame.decode("latin-1")}
        async_to_sync(get_channel_layer().group_send)(group_of(topic), message)


FORGERS = {"redis": to_redis, "nats": to_nats, "postgres": to_postgres}


@pytest.fixture(scope="module", params=[*DRIVERS, "channels"])
def broker(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A driver's name, and where its private server is."""
    kind, address = DRIVERS[request.param][1:] if request.param in DRIVERS else (RedisServer, "{port}")
    with private(kind) as server:
        yield request.param, address.format(port=server.port)


@pytest.fixture
def forge(broker: tuple[str, str], settings: Any) -> Iterator[Forger]:
    """What writes to the broker over which this process now publishes and follows."""
    name, address = broker
    options = {} if name == "channels" else {"url": address}
    settings.DJANGO_AIS = settings_of("memory", bus={"BACKEND": name, "OPTIONS": options})
    if name == "channels":
        hosts = {"hosts": [("127.0.0.1", int(address))]}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": hosts}}
    yield to_the_layer if name == "channels" else FORGERS[name](address)
    channel_layers.backends = {}


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def followed(forge: Forger, gate: Gate) -> Any:
    """A run that speaks, stops for the gate, and speaks on."""

    def run(job: Any) -> None:
        for place in range(LINES):
            job.log(f"line {place}")
            if place == STOP:
                gate.stand()

    return jobs.dispatch(worker_of(run), {})


def ending(run: UUID, seq: int, *, tenant: str = "") -> Envelope:
    """An end of a run that never was: whoever believes it follows no more."""
    data = {"forged": True}
    return Envelope(seq=seq, run=run, job=run, tenant=tenant, type="job.succeeded", time=datetime.now(UTC), data=data)


def forgeries(run: UUID, head: int) -> list[bytes]:
    """What somebody without the key can write, or copy, after an event's number; garbage last."""
    topic, others = tenancy.topic("", run), uuid4()
    unsigned, theirs, ours = BaseBus(), BaseBus(keys=[b"a key of their own"]), BaseBus(keys=registry.bus_keys())
    return [
        *[bus.encode(topic, ending(run, head + ahead)) for bus in (unsigned, theirs) for ahead in (1, 2, 10**9)],
        b"0" * 32 + unsigned.encode(topic, ending(run, head + 1)),
        ours.encode(tenancy.topic("acme", others), ending(others, head + 1, tenant="acme")),
        ours.encode(tenancy.topic("acme", run), ending(run, head + 1, tenant="acme")),
        b'{"run":"%s","seq":%d}' % (str(run).encode(), 10**30),
        *GARBAGE,
    ]  # fmt: skip


class Refused(logging.Handler):
    """Counts the frames that were not ours: garbage is written last, so all before it has arrived too."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "is not one of ours" in record.getMessage():
            self.count += 1
            self._loop.call_soon_threadsafe(self._changed.set)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.count < count:
                self._changed.clear()
                await self._changed.wait()


def told(envelopes: list[Envelope]) -> list[Any]:
    return [(envelope.seq, envelope.type, envelope.data) for envelope in envelopes]


def is_stop(envelope: Envelope) -> bool:
    return envelope.data.get("message") == f"line {STOP}"


def test_a_follower_sees_what_was_committed_and_nothing_that_was_written_by_hand(forge, gate, followed):
    """Given a follower of a run that is at work, when frames without a signature or with a wrong one, of the next
    number and of one far ahead, of another tenant, and garbage are written to the broker, then it sees the committed
    events, each once, in order; also while the run speaks on and it goes on.
    """
    topic, logger = tenancy.topic("", followed.id), logging.getLogger("django_ais.bus")

    async def follow() -> list[Envelope]:
        found: list[Envelope] = []
        refused = Refused()
        logger.addHandler(refused)
        try:
            async with aclosing(streams.follow(followed.id)) as envelopes:
                async for envelope in envelopes:
                    found.append(envelope)
                    if is_stop(envelope):
                        await in_a_thread(forge, topic, forgeries(followed.id, envelope.seq))
                        await refused.until(len(GARBAGE))
                        gate.opened.set()
                    elif gate.opened.is_set() and envelope.seq % 10 == 0:
                        await in_a_thread(forge, topic, forgeries(followed.id, envelope.seq))
        finally:
            logger.removeHandler(refused)
        return found

    found = asyncio.run(follow())

    assert told(found) == told(reading.page(followed.id, "", 0))
    assert len(found) > LINES


def test_what_is_written_by_hand_does_arrive(forge, followed):
    """Given somebody who has the project's key, when they write the same to the broker, signed, then it is believed:
    the test above is about frames that reach the follower.
    """
    topic, ours = tenancy.topic("", followed.id), BaseBus(keys=registry.bus_keys())

    async def follow() -> Envelope:
        async with aclosing(streams.follow(followed.id)) as envelopes:
            async for envelope in envelopes:
                if is_stop(envelope):
                    await in_a_thread(forge, topic, [ours.encode(topic, ending(followed.id, envelope.seq + 1))])
        return envelope

    async def in_time() -> Envelope:
        return await asyncio.wait_for(follow(), 15)

    assert asyncio.run(in_time()).data == {"forged": True}
