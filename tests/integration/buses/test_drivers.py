"""Bus drivers on their real servers: what is published arrives, and every time that the link was down is told."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from django_ais.buses import BaseBus, Hint, Reconnected, Subscription
from django_ais.exceptions import BusError
from tests.harness.private import private
from tests.harness.waiting import until
from tests.integration.buses.following import (
    DRIVERS,
    KEYS,
    RUN,
    SECONDS,
    envelope,
    following,
    next_hint,
    publish,
)

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.one_database("sqlite"),
]


@pytest.fixture(scope="module", params=DRIVERS)
def place(request) -> Iterator[tuple[type[BaseBus], object, str]]:
    """A driver's class, its server, and the address."""
    driver, kind, address = DRIVERS[request.param]
    with private(kind) as server:
        yield driver, server, address.format(port=server.port)


@pytest.fixture
def bus(place) -> Iterator[BaseBus]:
    driver, _, address = place
    made = driver("default", {"url": address}, keys=KEYS)
    yield made
    made.close()


@pytest.fixture
def server(place):
    return place[1]


async def test_what_is_published_arrives(bus):
    """Given a follower, when events are published, then it is told their numbers in order, and what they say."""
    async with following(bus, "t-1") as (_, heard):
        assert await publish(bus, "t-1", envelope(1), envelope(2, "two")) == 2
        hint = await next_hint(heard)
        while hint.seq < 2:
            hint = await next_hint(heard)

    assert (hint.topic, hint.run, hint.seq) == ("t-1", RUN, 2)
    assert (hint.envelope and hint.envelope.data["text"]) == ("two" if bus.carries_payload else None)


async def test_topics_come_and_go_on_one_connection(bus):
    """Given a follower of two topics, when it follows another and drops one, then it hears those it follows."""
    async with following(bus, "t-a", "t-b") as (subscription, heard):
        await subscription.add(["t-c"])
        await subscription.discard(["t-a"])
        for seq, topic in enumerate(("t-a", "t-b", "t-c"), 1):
            await publish(bus, topic, envelope(seq))

        assert {(await next_hint(heard)).topic, (await next_hint(heard)).topic} == {"t-b", "t-c"}


async def test_a_frame_that_is_too_large_travels_as_a_reference(bus):
    """Given an event beyond the inline limit, when it is published, then its number arrives alone."""
    async with following(bus, "t-1") as (_, heard):
        await publish(bus, "t-1", envelope(1, "x" * bus.max_inline_bytes))

        assert (await next_hint(heard)).envelope is None


async def test_a_server_that_was_away_is_told(bus, server):
    """Given a follower, when the server is killed and started again, then it is told, publishing meanwhile raises
    nothing, and what is published later arrives.
    """
    async with following(bus, "t-1") as (_, heard):
        server.sigkill()
        async with asyncio.timeout(SECONDS):
            assert isinstance(await heard.get(), Reconnected)
        begun = time.monotonic()
        assert await publish(bus, "t-1", envelope(1)) == 0
        assert time.monotonic() - begun < 4.0
        await asyncio.to_thread(server.start)
        hint = None
        async with asyncio.timeout(SECONDS):
            while hint is None:
                await publish(bus, "t-1", envelope(2))
                if not heard.empty():
                    item = heard.get_nowait()
                    hint = item if isinstance(item, Hint) else None
                else:
                    await asyncio.sleep(0.05)

    assert hint.seq == 2
    assert bus.lost >= 1


async def test_a_server_that_stands_still_does_not_hold_a_job(bus, server):
    """Given a server that does not answer, when jobs publish, then each waits a moment at most, and soon not at all."""
    assert await publish(bus, "t-1", envelope(1)) == 1
    server.freeze()
    try:
        begun = time.monotonic()
        for seq in range(2, 6):
            await publish(bus, "t-1", envelope(seq))
        seconds = time.monotonic() - begun
        taken = await publish(bus, "t-1", envelope(6))
        last = time.monotonic() - begun - seconds
    finally:
        server.thaw()

    assert (taken, seconds < 12.0) == (0, True)
    assert last < 0.5, "a server that failed several times in a row is not left alone"


@pytest.mark.parametrize("place", ["nats"], indirect=True)
async def test_a_publish_does_not_wait_for_the_answer_of_a_server_that_hung_up(place):
    """Given a job that waits for the server's answer to a frame, when the server is killed, then the job goes on at
    once, and not when its patience is over.
    """
    driver, server, address = place
    bus = driver("default", {"url": address, "timeout_seconds": 20}, keys=KEYS)
    assert await publish(bus, "t-1", envelope(1)) == 1
    (link,) = bus._links.values()
    server.freeze()
    publishing = asyncio.create_task(publish(bus, "t-1", envelope(2)))
    await asyncio.to_thread(until, lambda: link.client.stats["out_msgs"] == 2, what="the frame to be sent")
    server.sigkill()
    async with asyncio.timeout(5):
        assert await publishing == 0
    bus.close()
    server.start()


async def test_a_server_that_is_not_there_is_an_error_for_who_subscribes(place):
    """Given nobody who listens, when one subscribes, then the error says so, in time."""
    driver, _, address = place
    bus = driver("default", {"url": address.replace(f":{place[1].port}", ":1")}, keys=KEYS)

    with pytest.raises(BusError):
        async with asyncio.timeout(SECONDS):
            await bus.subscribe(["t-1"])
    with pytest.raises(BusError):
        await asyncio.to_thread(bus.probe)
    bus.close()


async def test_a_server_that_is_there_is_probed(bus):
    """Given a server, when it is asked whether it is there, then there is nothing to say."""
    assert await asyncio.to_thread(bus.probe) == []


async def test_a_child_of_a_fork_publishes_on_a_connection_of_its_own(bus):
    """Given a process that has published, when it forks, then child and parent both publish."""
    async with following(bus, "t-1") as (_, heard):
        await publish(bus, "t-1", envelope(1))
        assert (await next_hint(heard)).seq == 1
        pid = os.fork()
        if not pid:
            os._exit(0 if bus.publish("t-1", [envelope(2)]) == 1 else 1)
        status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status[1]) == 0
        assert (await next_hint(heard)).seq == 2
        await publish(bus, "t-1", envelope(3))
        assert (await next_hint(heard)).seq == 3


async def test_many_threads_publish_at_once(bus):
    """Given eight threads, when each publishes, then all of it is taken."""
    topics = [f"t-{uuid4().hex}" for _ in range(8)]
    taken = await asyncio.gather(*(publish(bus, topic, envelope(1), envelope(2)) for topic in topics))

    assert taken == [2] * 8


async def test_closing_ends_the_iteration(bus):
    """Given a follower, when its subscription is closed, then its iteration ends."""
    subscription: Subscription = await bus.subscribe(["t-1"])
    ended = asyncio.create_task(_drain(subscription))
    await subscription.close()
    await asyncio.wait_for(ended, SECONDS)


async def _drain(subscription: Subscription) -> None:
    async for _ in subscription:
        pass
