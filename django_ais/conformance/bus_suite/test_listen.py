"""What a subscription hears: what it asked for, from the moment it was told that it listens, until it is closed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from django_ais.buses import Reconnected
from django_ais.conformance.bus_bench import QUIET, BusBench, Run
from django_ais.conformance.manifest import requirement
from django_ais.exceptions import BusError

JOINS = 20
HOSTILE = ("*", ">", "a.b", "a", "a\n", "%", "\\", "ä\U0001f600", "x" * 60)
RUBBISH = (b"rubbish", b"{}", b'{"run": 1, "seq": "x"}', b"\xff\xfe" * 40)
BURST, BURSTS = 500, 60
MOST_WAITING = 20_000  # frames that a driver may keep for a reader that does not read


@requirement("B-LISTEN-001")
async def test_the_very_next_event_is_heard(bench: BusBench) -> None:
    """Given a subscription that has just returned, when an event is announced at once, then it is heard. Many times."""
    for place in range(JOINS):
        run = await bench.run()
        await bench.commit(run, "before")
        async with bench.listening(run) as ears:
            await ears.hear(run, await bench.say(run, f"join {place}"))


@requirement("B-LISTEN-002")
async def test_topics_are_added_while_others_are_heard(bench: BusBench) -> None:
    """Given a run that is heard all the time, when others are added, then the very next event of each is heard."""
    steady, others = await bench.run(), [await bench.run() for _ in range(JOINS)]
    async with bench.listening(steady, *others[:1]) as ears:
        for run in others[1:]:
            with followed(run):
                spoken = asyncio.create_task(bench.say(steady, "meanwhile"))
                await bench.soon(ears.subscription.add([run.topic]), "a topic to be added")
                await ears.hear(run, await bench.say(run, "added"))
                await ears.hear(steady, await spoken)


@requirement("B-LISTEN-003")
async def test_dropped_topics_are_heard_no_more(bench: BusBench) -> None:
    """Given two topics, when one is dropped, then nothing of it is heard, the other is, and it may be added again."""
    dropped, kept = await bench.run(), await bench.run()
    async with bench.listening(dropped, kept) as ears:
        await ears.hear(dropped, await bench.say(dropped, "heard"))
        await bench.soon(ears.subscription.discard([dropped.topic]), "a topic to be dropped")
        await ears.hear(kept, await bench.say(kept, "between"))  # what was under way has arrived
        before = ears.last(dropped)
        await bench.say(dropped, "unheard")
        await ears.hear(kept, await bench.say(kept, "after"))
        await asyncio.sleep(QUIET)
        assert ears.last(dropped) == before, "a topic that was dropped is heard"

        await bench.soon(ears.subscription.add([dropped.topic]), "a topic to be added again")
        await ears.hear(dropped, await bench.say(dropped, "heard again"))


@requirement("B-LISTEN-004")
async def test_nobody_hears_what_is_meant_for_others(bench: BusBench) -> None:
    """Given runs of tenants with hostile names, each with ears of its own, when all speak, and one on topics that look
    like others', then each hears its own run alone.
    """
    runs = [await bench.run(tenant) for tenant in HOSTILE]
    stranger = await bench.run("stranger")
    (canary,) = await bench.commit(stranger, "canary")
    async with bench.listening(*runs[:4]) as some, bench.listening(*runs[4:]) as others:
        for run in runs:
            for topic in (run.topic[:-1], run.topic + "x", run.topic.upper(), "*", ">", "ais-run-*", "ais-run-"):
                await bench.publish(topic, [canary])
        for ears, own in ((some, runs[:4]), (others, runs[4:])):
            for run in own:
                await ears.hear(run, await bench.say(run, f"of {run.tenant}"))
        await asyncio.sleep(QUIET)

        assert {hint.run for hint in some.hints} == {run.id for run in runs[:4]}
        assert {hint.run for hint in others.hints} == {run.id for run in runs[4:]}
        assert {hint.topic for hint in some.hints + others.hints} == {run.topic for run in runs}


@requirement("B-LISTEN-005")
async def test_every_subscription_hears_everything(bench: BusBench) -> None:
    """Given two subscriptions here and one in another thread's event loop, then all hear what is announced."""
    run, ready, heard = await bench.run(), threading.Event(), threading.Event()

    async def elsewhere() -> None:
        async with bench.listening(run) as ears:
            ready.set()
            await ears.until(lambda: ears.last(run), "the event, in another thread")
            heard.set()

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()), daemon=True)
    async with bench.listening(run) as first, bench.listening(run) as second:
        thread.start()
        assert await asyncio.to_thread(ready.wait, bench.patience), "another thread's loop could not subscribe"
        seq = await bench.say(run, "to all")
        await first.hear(run, seq)
        await second.hear(run, seq)
        assert await asyncio.to_thread(heard.wait, bench.patience), "the other thread's loop heard nothing"
    await asyncio.to_thread(thread.join, bench.patience)


@requirement("B-LISTEN-006")
async def test_a_slow_reader_is_bounded_and_learns_of_it(bench: BusBench) -> None:
    """Given a subscription that nobody reads, when 30,000 events are announced, then what waits is bounded, and once it
    is read, it tells the last number or that something was missed, and goes on.
    """
    run = await bench.run()
    events = await bench.commit(run, *["burst"] * BURST)
    with followed(run):
        subscription = await bench.soon(bench.bus.subscribe([run.topic]), "to subscribe")
        for _ in range(BURSTS):
            await bench.publish(run.topic, events)
        seq = await bench.say(run, "last")
        waited, told = 0, False

        async def read() -> None:
            nonlocal waited, told
            async for item in subscription:
                waited += 1
                told = told or isinstance(item, Reconnected) or item.seq >= seq
                if told:
                    break

        async def speak_on() -> None:
            while bench.bus.detects_reconnect is False:  # such a driver may only be expected to hear what comes now
                await asyncio.sleep(QUIET)
                await bench.say(run, "and on")

        speaking = asyncio.create_task(speak_on())
        try:
            await bench.soon(read(), "a slow reader to learn that it missed something")
        finally:
            speaking.cancel()
        assert waited <= MOST_WAITING, f"{waited} frames waited for a reader that did not read"
        await bench.soon(subscription.close(), "close")


@requirement("B-LISTEN-007")
async def test_where_nobody_is_subscribing_fails_in_time(bench: BusBench) -> None:
    """Given dead servers, when one subscribes, then BusError, within ten seconds."""
    with bench.away():
        begun = time.monotonic()
        with pytest.raises(BusError):
            await bench.soon(bench.build().subscribe(["ais-run-x"]), "to learn that nobody is there")
        assert time.monotonic() - begun < 10.0

    run = await bench.run()
    async with bench.listening(run) as ears:
        await ears.hear(run, await bench.say(run, "back"))


@requirement("B-LISTEN-008")
async def test_closing_ends_the_iteration(bench: BusBench) -> None:
    """Given a subscription, when it is closed, then its iteration ends and nothing is heard any more."""
    run = await bench.run()
    async with bench.listening(run) as ears:
        await ears.hear(run, await bench.say(run, "heard"))
        await ears.close()
        count = len(ears.heard)
        await bench.say(run, "unheard")
        await asyncio.sleep(QUIET)

        assert len(ears.heard) == count, "a closed subscription hears"
        assert ears.error is None, f"closing raised {ears.error!r}"


@requirement("B-SIGNED-001")
async def test_a_forged_frame_is_a_wake_up_at_most(bench: BusBench) -> None:
    """Given somebody who can write to the broker and has not the project's key, when he announces an event and then
    rubbish, then no event of his is taken for one, and the next true one is heard.
    """
    run = await bench.run()
    async with bench.listening(run) as ears:
        (committed,) = await bench.commit(run, "true")
        forged = committed.model_copy(update={"data": {"message": "m", "text": "forged"}})
        await bench.forge(run.topic, forged, *RUBBISH)
        await ears.hear(run, await bench.say(run, "true again"))

        texts = {hint.envelope.data["text"] for hint in ears.hints if hint.envelope is not None}
    assert "forged" not in texts, "a frame with a wrong signature was taken for an event"


@contextmanager
def followed(run: Run) -> Iterator[None]:
    """While this lasts, the core says that a run is followed in this process."""
    from django_ais.runtime import reading

    reading.watch(run.topic, run.id)
    try:
        yield
    finally:
        reading.unwatch(run.topic)
