"""Followers within one process, on buses that fail: each event once, in order, whatever happens."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from django.utils import timezone

from django_ais import jobs, registry
from django_ais.backends.bus.memory import MemorySubscription
from django_ais.runtime import hub as hubs
from django_ais.runtime import links, reading, streams
from tests.app.behaviour_workers import settings_of, worker_of
from tests.integration.streaming.conftest import counted, in_a_thread
from tests.integration.streaming.faults import FaultyBus
from tests.integration.streaming.writers import streaming, text_of

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

FAULTY = "tests.integration.streaming.faults.FaultyBus"
PIECES = 150


@pytest.fixture
def runs(settings: Any) -> Any:
    """Start runs that stream their texts in threads; a call returns their ids."""
    settings.DJANGO_AIS = settings_of("memory", FAULTY, OPTIONS={"threads": 6})
    name = worker_of(streaming(0.01))

    def start(count: int) -> list[Any]:
        return [jobs.dispatch(name, {"seed": seed, "pieces": PIECES}).id for seed in range(count)]

    return start


def bus_of_the_test() -> FaultyBus:
    bus = registry.buses["default"]
    assert isinstance(bus, FaultyBus)
    return bus


async def read(run: Any, *, after: int = 0, delay: float = 0.0, most: int = 10**9) -> list[tuple[int, str, str]]:
    """Follow a run from a number on; at most so many events."""
    await asyncio.sleep(delay)
    found: list[tuple[int, str, str]] = []
    async with aclosing(streams.follow(run, after=after)) as envelopes:
        async for envelope in envelopes:
            found.append((envelope.seq, envelope.type, envelope.data.get("text", "")))
            if len(found) == most:
                break
    return found


async def read_in_two(run: Any, *, delay: float, most: int) -> list[tuple[int, str, str]]:
    """Follow, leave after some events, come back for the rest."""
    first = await read(run, delay=delay, most=most)
    return first + (await read(run, after=first[-1][0]) if len(first) == most else [])


def assert_whole(found: list[tuple[int, str, str]], seed: int) -> None:
    assert [seq for seq, _, _ in found] == list(range(1, len(found) + 1))
    assert found[-1][1] == "job.succeeded"
    assert "".join(text for _, _, text in found) == "".join(text_of(seed, PIECES))


def test_every_follower_reads_the_whole_text_from_a_bus_that_loses_repeats_and_reorders(runs):
    """Given six runs and twenty followers of each, joining and leaving at different moments, when the bus mangles its
    frames, then each has read 1 to n and the exact text.
    """

    async def follow() -> Any:
        started = await in_a_thread(runs, 6)
        whole = [read(run, delay=number * 0.15) for run in started for number in range(10)]
        parts = [read_in_two(run, delay=number * 0.1, most=5 + number * 7) for run in started for number in range(10)]
        return await asyncio.gather(*whole, *parts)

    found = asyncio.run(follow())

    for place, events in enumerate(found):
        assert_whole(events, seed=place // 10 % 6)
    mangler = bus_of_the_test().mangler
    assert min(mangler.lost, mangler.repeated, mangler.late) > 0


@pytest.mark.parametrize("failure", [ConnectionError, asyncio.CancelledError])
def test_followers_live_on_the_rows_while_the_bus_is_down_and_on_the_bus_again_when_it_is_back(
    runs, monkeypatch, failure
):
    """Given followers of a run, when the bus hangs up, raises for a while (or its client library cancels itself) and
    comes back, then nobody misses anything, and the hub listens to it again.
    """
    monkeypatch.setattr(hubs, "FEED_SECONDS", 0.1)
    listening = []

    async def follow() -> Any:
        started = await in_a_thread(runs, 2)
        following = [asyncio.ensure_future(read(run)) for run in started for _ in range(5)]
        await asyncio.sleep(0.5)
        bus = bus_of_the_test()
        bus.failure = failure
        await bus.go_down()
        await asyncio.sleep(0.5)
        listening.append(hubs.hub()._subscription is not None)
        bus.is_down = False
        for _ in range(100):
            await asyncio.sleep(0.02)
            if hubs.hub()._subscription is not None:
                break
        listening.append(hubs.hub()._subscription is not None)
        return await asyncio.gather(*following)

    found = asyncio.run(follow())

    assert listening == [False, True]
    for place, events in enumerate(found):
        assert_whole(events, seed=place // 5)


def test_a_subscription_that_nobody_needs_any_more_is_closed_without_a_word(runs, monkeypatch, caplog):
    """Given a bus whose subscription takes a moment to close, when the last follower leaves, then nobody is told that
    the bus hung up: we did.
    """
    close = MemorySubscription.close

    async def close_slowly(subscription: MemorySubscription) -> None:
        await close(subscription)
        await asyncio.sleep(0.01)

    monkeypatch.setattr(MemorySubscription, "close", close_slowly)

    async def follow() -> Any:
        (run,) = await in_a_thread(runs, 1)
        found = await read(run)
        while (leaving := hubs.hub()._discarder) is not None:
            await leaving
        return found

    assert_whole(asyncio.run(follow()), seed=0)
    assert "hung up" not in caplog.text


def test_a_run_is_read_once_however_many_follow_it(runs, monkeypatch):
    """Given five hundred followers of one run, when the bus loses every frame, then the rows are read for the run, not
    for each follower.
    """
    pages = counted(monkeypatch, reading, "page")
    monkeypatch.setattr(hubs, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(FaultyBus, "_publish", lambda *_: 0)

    async def follow() -> Any:
        (run,) = await in_a_thread(runs, 1)
        return await asyncio.gather(*[read(run) for _ in range(500)])

    begun = time.monotonic()
    found = asyncio.run(follow())
    seconds = time.monotonic() - begun

    for events in found:
        assert_whole(events, seed=0)
    looks = seconds / hubs.PROBE_SECONDS
    assert next(pages) < 500 + 40 + 2 * looks  # each may catch up once, when it comes; then twice a look for all


def test_nothing_is_left_of_a_follower_that_was_cancelled(runs):
    """Given followers cancelled while they join and while they wait, when they are gone, then the hub has no feed, no
    subscription and no task, and the run can be followed again.
    """

    async def follow() -> Any:
        (run,) = await in_a_thread(runs, 1)
        for delay in (0.0, 0.001, 0.005, 0.05, 0.2):
            following = [asyncio.ensure_future(read(run)) for _ in range(20)]
            await asyncio.sleep(delay)
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        for _ in range(100):  # what was cancelled last ends within moments
            await asyncio.sleep(0.02)
            if len(asyncio.all_tasks()) == 1:
                break
        own = hubs.hub()
        left = (own.feeds, own._by_topic, own._subscription, own._prober, reading._followed)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return left, tasks, await read(run)

    left, tasks, found = asyncio.run(follow())

    assert left == ({}, {}, None, None, {})
    assert tasks == []
    assert_whole(found, seed=0)


def test_reading_threads_keep_their_connections_and_let_them_go_with_the_last_follower(runs, monkeypatch):
    """Given a run that is followed, when rows are read again and again, then each thread connects once; a connection
    that broke is replaced; and when nobody follows any more, the threads end.
    """
    monkeypatch.setattr(hubs, "REST_SECONDS", 0.05)
    made: list[int] = []
    connection_created.connect(remember := lambda **_: made.append(threading.get_ident()))

    async def follow() -> tuple[int, int]:
        (run,) = await in_a_thread(runs, 1)
        made.clear()
        for _ in range(20):
            await reading.read(lambda: reading.page(run, "", 0))
        kept = len([thread for thread in made if thread in readers()])
        await reading.read(break_the_connection)
        await reading.read(lambda: reading.page(run, "", 0))
        assert_whole(await read(run), seed=0)
        async with asyncio.timeout(10):
            while readers():  # noqa: ASYNC110 - a thread does not tell of its end
                await asyncio.sleep(0.02)
        return kept, len(made)

    kept, all_of_them = asyncio.run(follow())
    connection_created.disconnect(remember)

    assert kept <= reading.READERS
    assert all_of_them > 0


def test_reading_goes_on_while_its_threads_are_stopped(runs):
    """Given many who read, when the reading threads are stopped again and again, then every one gets its answer, and no
    connection is kept of threads that are gone.
    """
    before = len(links._kept)

    async def read_all() -> list[int]:
        stopping = asyncio.gather(*[in_a_thread(reading.stop_readers) for _ in range(100)])
        answers = await asyncio.gather(*[reading.read(lambda: 1) for _ in range(500)])
        await stopping
        await reading.read(lambda: connection.ensure_connection())  # of that thread
        await in_a_thread(reading.stop_readers)
        return answers

    assert asyncio.run(read_all()) == [1] * 500
    assert len(links._kept) == before


def break_the_connection() -> None:
    connection.close()
    connection.ensure_connection()
    connection.connection.close()
    connection.errors_occurred = True


def readers() -> set[int | None]:
    return {thread.ident for thread in threading.enumerate() if thread.name.startswith("ais-reader")}


def test_a_number_from_nowhere_is_taken_for_the_last_one(runs):
    """Given a follower that says it has seen event 10**12, when others follow the same run, then they and it read what
    comes.
    """

    async def follow() -> Any:
        (run,) = await in_a_thread(runs, 1)
        return await asyncio.gather(read(run, after=10**12), read(run), read(run, delay=0.3))

    ahead, *others = asyncio.run(follow())

    assert ahead[-1][1] == "job.succeeded"
    for events in others:
        assert_whole(events, seed=0)


def test_a_run_that_is_deleted_ends_its_followers(settings, monkeypatch):
    """Given a follower of a run that waits for a person, when its rows are deleted, then the follower ends."""
    settings.DJANGO_AIS = settings_of()
    monkeypatch.setattr(hubs, "PROBE_SECONDS", 0.05)
    job = jobs.dispatch("echo", {}, run_after=timezone.now() + timedelta(days=365))

    async def follow() -> Any:
        following = asyncio.ensure_future(read(job.id))
        await asyncio.sleep(0.2)
        await in_a_thread(job.delete)
        return await asyncio.wait_for(following, 5)

    assert [type for _, type, _ in asyncio.run(follow())] == ["job.queued"]


def test_a_pruned_run_is_read_as_far_as_it_is_left(settings):
    """Given a finished run of which retention has left two events, when it is followed, then those come and it ends."""
    settings.DJANGO_AIS = settings_of()
    job = jobs.dispatch("echo", {})
    job.run_events.filter(seq=2).delete()

    assert [seq for seq, _, _ in asyncio.run(read(job.id))] == [1, 3]
