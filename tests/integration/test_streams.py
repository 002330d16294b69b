"""Following a run: every event after a number, once, in order, to the end; whatever the bus does."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from django_ais import jobs
from django_ais.backends.bus.memory import MemoryBus, MemorySubscription
from django_ais.buses import Reconnected
from django_ais.events import Envelope
from django_ais.exceptions import BusError, JobNotFoundError
from django_ais.models import AgentEvent, JobPacket
from django_ais.runtime import hub, streams
from tests.app.behaviour_workers import Gate, notes, settings_of, worker_of

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 20.0
DATABASE_BUS = {"BACKEND": "database", "OPTIONS": {"first_seconds": 0.01, "last_seconds": 0.05}}


class LossyBus(MemoryBus):
    """Loses, repeats and reorders frames, and now and then raises."""

    chance = random.Random(7)

    def _publish(self, topic, frames):
        sent = [frame for frame in frames for _ in range(self.chance.choice((0, 1, 1, 3)))]
        self.chance.shuffle(sent)
        if self.chance.random() < 0.2:
            raise ConnectionError("the broker is away")
        return super()._publish(topic, sent)


class DeadBus(MemoryBus):
    """Can be neither published to nor subscribed to."""

    def _publish(self, topic, frames):
        raise ConnectionError("the broker is away")

    async def _subscribe(self):
        raise BusError("the broker is away")


class BreakingBus(MemoryBus):
    """Its subscription breaks with the third frame."""

    async def _subscribe(self) -> MemorySubscription:
        class Breaking(MemorySubscription):
            async def frames(self) -> AsyncIterator[tuple[str, bytes] | Reconnected]:
                left = 3
                async for frame in super().frames():
                    left -= 1
                    if not left:
                        raise ConnectionError("the broker went away")
                    yield frame

        return Breaking(self, asyncio.get_running_loop())


class SilentBus(MemoryBus):
    """Takes everything and delivers nothing."""

    def _publish(self, topic, frames):
        return len(frames)


BROKEN = [LossyBus, DeadBus, BreakingBus, SilentBus]


@pytest.fixture(autouse=True)
def threads(settings):
    """Jobs run in threads while the test follows them."""
    settings.DJANGO_AIS = settings_of("memory")
    notes.clear()


@pytest.fixture
def no_probe(monkeypatch):
    """What arrives was brought by the bus: nobody looks at the rows by himself in time."""
    monkeypatch.setattr(hub, "PROBE_SECONDS", 600.0)
    monkeypatch.setattr(hub, "FEED_SECONDS", 600.0)


@pytest.fixture
def often_probed(monkeypatch):
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(hub, "FEED_SECONDS", 0.05)


def bus_of(bus: type) -> str:
    return f"{__name__}.{bus.__name__}"


async def all_of(run: JobPacket, *, after: int = 0, pause: float = 0.0) -> list[Envelope]:
    """Follow to the end."""
    found = []
    async with aclosing(streams.follow(run.id, after=after)) as envelopes:
        async for envelope in envelopes:
            found.append(envelope)
            await asyncio.sleep(pause)
    return found


def followed(run: JobPacket, *, after: int = 0) -> list[Envelope]:
    return asyncio.run(asyncio.wait_for(all_of(run, after=after), LONG))


def numbers(envelopes: list[Envelope]) -> list[int]:
    return [envelope.seq for envelope in envelopes]


def stored(run: JobPacket, *, after: int = 0) -> list[tuple[Any, ...]]:
    rows = AgentEvent.objects.filter(root=run, seq__gt=after).order_by("seq")
    return list(rows.values_list("seq", "job_id", "type", "data"))


def told(envelopes: list[Envelope]) -> list[tuple[Any, ...]]:
    return [(envelope.seq, envelope.job, envelope.type, envelope.data) for envelope in envelopes]


def talkative(lines: int = 30, *, gate: Gate | None = None, pause: float = 0.0) -> str:
    """A worker that says so many lines, after the gate is opened."""

    def run(job):
        if gate is not None:
            gate.stand()
        for line in range(lines):
            job.emit("x.test.line", number=line)
            threading.Event().wait(pause)

    return worker_of(run)


def finished(**options) -> JobPacket:
    return jobs.wait(jobs.dispatch(talkative(**options)), timeout=LONG)


# -- replay


def test_a_finished_run_is_replayed_as_it_is_stored_and_then_ends():
    run = finished()

    envelopes = followed(run)

    assert told(envelopes) == stored(run)
    assert numbers(envelopes) == list(range(1, 34))
    assert envelopes[-1].is_last


@pytest.mark.parametrize("after", [0, 1, 17, 32])
def test_a_reader_that_says_after_n_gets_the_next_number(after):
    run = finished()

    assert told(followed(run, after=after)) == stored(run, after=after)


@pytest.mark.usefixtures("no_probe")
@pytest.mark.parametrize("after", [33, 1_000])
def test_a_reader_that_has_everything_of_a_finished_run_is_sent_away_at_once(after):
    run = finished()

    assert followed(run, after=after) == []


def test_a_long_run_is_read_in_pages():
    run = finished(lines=1_200)

    assert numbers(followed(run)) == list(range(1, 1_204))


def test_there_is_nothing_to_follow_where_there_is_no_run():
    with pytest.raises(JobNotFoundError):
        followed(JobPacket(id=uuid4()))


def test_an_envelope_says_whose_it_is():
    run = jobs.wait(jobs.dispatch("give", tenant="acme"), timeout=LONG)

    (first, *_) = followed(run)

    assert (first.tenant, first.run, first.job, first.seq) == ("acme", run.id, run.id, 1)


# -- live


@pytest.mark.usefixtures("no_probe")
@pytest.mark.parametrize("bus", ["memory", DATABASE_BUS], ids=["memory", "database"])
def test_what_is_committed_later_arrives_live_and_ends_with_the_terminal_event(settings, bus):
    settings.DJANGO_AIS = settings_of("memory", bus)
    gate = Gate()
    run = jobs.dispatch(talkative(gate=gate, pause=0.005))

    async def story():
        found = []
        async with aclosing(streams.follow(run.id)) as envelopes:
            async for envelope in envelopes:
                found.append(envelope)
                if envelope.type == "job.started":
                    gate.opened.set()
        return found

    found = asyncio.run(asyncio.wait_for(story(), LONG))

    assert told(found) == stored(run)
    assert found[-1].type == "job.succeeded"


@pytest.mark.usefixtures("no_probe")
@pytest.mark.parametrize("bus", ["memory", DATABASE_BUS], ids=["memory", "database"])
def test_many_followers_of_one_run_all_get_everything(settings, bus):
    """Also those that read slowly, and those that stay when others leave."""
    settings.DJANGO_AIS = settings_of("memory", bus)
    gate = Gate()
    run = jobs.dispatch(talkative(60, gate=gate))

    async def leave_early():
        async with aclosing(streams.follow(run.id)) as envelopes:
            async for _ in envelopes:
                return

    async def story():
        patient = [asyncio.create_task(all_of(run, after=after, pause=0.001)) for after in (0, 0, 1)]
        await leave_early()
        gate.opened.set()
        return await asyncio.gather(*patient)

    first, second, third = asyncio.run(asyncio.wait_for(story(), LONG))

    assert told(first) == told(second) == stored(run)
    assert told(third) == stored(run, after=1)


@pytest.mark.usefixtures("no_probe")
@pytest.mark.parametrize("bus", ["memory", DATABASE_BUS], ids=["memory", "database"])
def test_followers_in_two_event_loops_do_not_disturb_each_other(settings, bus):
    """A wait that gives up in one leaves the stream in the other as it is."""
    settings.DJANGO_AIS = settings_of("memory", bus)
    gate = Gate()
    run = jobs.dispatch(talkative(gate=gate))

    def give_up():
        with pytest.raises(TimeoutError):
            jobs.wait(run, timeout=0.2)
        connections.close_all()

    async def story():
        stream = asyncio.create_task(all_of(run))
        await asyncio.to_thread(gate.await_one)
        await asyncio.to_thread(give_up)
        gate.opened.set()
        return await stream

    assert told(asyncio.run(asyncio.wait_for(story(), LONG))) == stored(run)


@pytest.mark.usefixtures("no_probe")
def test_a_follower_of_a_run_with_children_hears_them_all():
    def run(job):
        for _ in range(3):
            job.dispatch("give", 1)

    root = jobs.dispatch(worker_of(run))

    found = followed(root)

    assert told(found) == stored(root)
    assert len({envelope.job for envelope in found}) == 4


# -- a bus that cannot be relied on


@pytest.mark.usefixtures("often_probed")
@pytest.mark.parametrize("bus", BROKEN)
def test_whatever_the_bus_does_the_stream_is_whole(settings, bus):
    settings.DJANGO_AIS = settings_of("memory", bus_of(bus))
    gate = Gate()
    run = jobs.dispatch(talkative(80, gate=gate, pause=0.002))

    async def story():
        whole = asyncio.create_task(all_of(run))
        await asyncio.to_thread(gate.await_one)
        gate.opened.set()
        return await whole

    assert told(asyncio.run(asyncio.wait_for(story(), LONG))) == stored(run)


@pytest.mark.usefixtures("often_probed")
@pytest.mark.parametrize("bus", BROKEN)
def test_whatever_the_bus_does_the_job_does_not_notice(settings, bus):
    settings.DJANGO_AIS = settings_of("memory", bus_of(bus))

    assert finished().status == "succeeded"


@pytest.mark.usefixtures("often_probed")
@pytest.mark.parametrize("bus", [MemoryBus, LossyBus, SilentBus])
def test_readers_that_join_while_events_are_written_miss_nothing(settings, bus):
    """At random moments, after random numbers, while four jobs of one run write side by side."""
    settings.DJANGO_AIS = settings_of("memory", bus_of(bus), OPTIONS={"threads": 5})
    gate, chance = Gate(), random.Random(11)
    child = talkative(60, gate=gate, pause=0.003)

    def run(job):
        for _ in range(4):
            job.dispatch(child)

    root = jobs.dispatch(worker_of(run))

    async def join_late() -> tuple[int, list[Envelope]]:
        await asyncio.sleep(chance.random() * 0.4)
        after = chance.randrange(0, 3)
        return after, await all_of(root, after=after)

    async def story():
        await asyncio.to_thread(gate.await_one)  # root and child are told of: nobody has seen more than is committed
        readers = [asyncio.create_task(join_late()) for _ in range(12)]
        gate.opened.set()
        return await asyncio.gather(*readers)

    for after, found in asyncio.run(asyncio.wait_for(story(), LONG)):
        assert told(found) == stored(root, after=after)
