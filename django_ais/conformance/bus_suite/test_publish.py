"""What becomes of an event that is announced: it is heard, by whoever listens, whoever announces it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from django_ais.buses import BaseBus
from django_ais.conformance.bus_bench import QUIET, BusBench, Run
from django_ais.conformance.manifest import requirement
from django_ais.events import Envelope

TEXTS = ["plain", "ä \U0001f600 \u2028 \r\n\0", '{"run": 1}', "* > . $ \\ %s", ""]
THREADS = 8
MOST_SECONDS = 4.0  # that one publish may take, whatever the server does
SECONDS_OF_SEVERAL = 8.0  # for several in a row: a server that failed a few times is left alone


def content(envelope: Envelope | None) -> object:
    return envelope and (envelope.seq, envelope.run, envelope.job, envelope.tenant, envelope.type, envelope.data)


@requirement("B-PUBLISH-001")
async def test_what_is_announced_is_heard(bench: BusBench) -> None:
    """Given a listener, when two events are announced and then another, then it is told of the last each time."""
    run = await bench.run()
    async with bench.listening(run) as ears:
        await ears.hear(run, await bench.say(run, "one", "two"))
        await ears.hear(run, await bench.say(run, "three"))


@requirement("B-PUBLISH-002")
async def test_the_event_itself_arrives(bench: BusBench) -> None:
    """Given texts of every kind, when announced, then each arrives as it was committed, in a frame that is signed."""
    run = await bench.run("tenant ä")
    async with bench.listening(run) as ears:
        committed = await bench.commit(run, *TEXTS)
        await bench.publish(run.topic, committed)
        await ears.hear(run, committed[-1].seq)

        heard = {hint.seq: content(hint.envelope) for hint in ears.hints}
    assert heard == {envelope.seq: content(envelope) for envelope in committed}


@requirement("B-PUBLISH-003")
async def test_no_content_leaves(bench: BusBench) -> None:
    """Given a bus that carries numbers alone, when a secret is announced, then no frame holds it, and it was heard."""
    run, frames = await bench.run(), []
    async with bench.listening(run) as ears:
        taken = bench.bus._publish

        def watched(topic: str, given: list[bytes]) -> int:
            frames.extend(given)
            return taken(topic, given)

        bench.bus._publish = watched  # type: ignore[method-assign, assignment]
        try:
            await ears.hear(run, await bench.say(run, "canary"))
        finally:
            del bench.bus._publish
        assert [hint.envelope for hint in ears.hints if hint.envelope] == []
    assert [frame for frame in frames if b"canary" in frame] == []


@requirement("B-PUBLISH-004")
async def test_an_event_of_any_size_is_announced(bench: BusBench) -> None:
    """Given an event just below the inline limit and one past it, then both are announced, the first as it is."""
    run = await bench.run()
    small = (await bench.commit(run, "x"))[0]
    room = bench.bus.max_inline_bytes - len(bench.bus.encode(run.topic, small)) - 8  # its number may have more digits
    async with bench.listening(run) as ears:
        below = await bench.say(run, "x" * room)
        await ears.hear(run, below)
        past = await bench.say(run, "x" * bench.bus.max_inline_bytes)
        await ears.hear(run, past)

        whole = {hint.seq for hint in ears.hints if hint.envelope is not None}
    assert whole == ({below} if bench.bus.carries_payload else set()), "which events arrived whole"


@requirement("B-PUBLISH-005")
async def test_many_threads_announce_at_once(bench: BusBench) -> None:
    """Given eight threads, when each announces events of its own run, then all of it is taken and heard."""
    runs = [await bench.run() for _ in range(THREADS)]
    async with bench.listening(*runs) as ears:
        committed = [await bench.commit(run, "a", "b", "c") for run in runs]
        together = threading.Barrier(THREADS)

        def publish(topic: str, events: list[Envelope]) -> int:
            together.wait(bench.patience)
            return bench.bus.publish(topic, events)

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(THREADS) as pool:
            taken = await asyncio.gather(
                *(loop.run_in_executor(pool, publish, run.topic, events)
                  for run, events in zip(runs, committed, strict=True))
            )  # fmt: skip

        assert taken == [3] * THREADS, "how many events the driver took from each thread"
        for run, events in zip(runs, committed, strict=True):
            await ears.hear(run, events[-1].seq)


@requirement("B-PUBLISH-006")
async def test_it_announces_before_and_after_a_fork(bench: BusBench) -> None:
    """Given a process that has announced, when it forks, then the child announces, and it too afterwards."""
    runs = [await bench.run() for _ in range(3)]
    async with bench.listening(*runs) as ears:
        committed = [(await bench.commit(run, "forked"))[-1].seq for run in runs]
        await bench.announce_elsewhere(*runs, fork=True)

        for run, seq in zip(runs, committed, strict=True):
            await ears.hear(run, seq)


@requirement("B-PUBLISH-007")
async def test_another_process_is_heard(bench: BusBench) -> None:
    """Given a listener, when another process announces, then it hears of it."""
    run = await bench.run()
    async with bench.listening(run) as ears:
        (envelope,) = await bench.commit(run, "from elsewhere")
        await bench.announce_elsewhere(run)

        await ears.hear(run, envelope.seq)


@requirement("B-PUBLISH-008")
async def test_another_process_is_not_heard(bench: BusBench) -> None:
    """Given a driver that stays in its process, when another process announces, then nothing is heard here."""
    run = await bench.run()
    async with bench.listening(run) as ears:
        await bench.commit(run, "from elsewhere")
        await bench.announce_elsewhere(run)
        await asyncio.sleep(QUIET)

        assert ears.last(run) == 0, "the driver denies that it crosses processes, and does"


async def announce_in_vain(bench: BusBench, run: Run, bus: BaseBus) -> None:
    """Announce a few events while the server is away or dumb, and see that nobody waits for it."""
    (envelope,) = await bench.commit(run, "lost")
    lost, begun = bus.lost, time.monotonic()
    for _ in range(6):
        before = time.monotonic()
        try:
            taken = await bench.publish(run.topic, [envelope], through=bus)
        except Exception as error:
            raise AssertionError(f"publish raised {error!r}, and a job would have failed for a hint") from error
        assert taken == 0, "a frame was said to be taken while nobody took any"
        assert time.monotonic() - before < MOST_SECONDS, "a publish waited for the server"
    assert time.monotonic() - begun < SECONDS_OF_SEVERAL, "every publish waited for the server"
    assert bus.lost - lost == 6, "how many lost frames were counted"


async def say_until_heard(bench: BusBench, run: Run) -> None:
    """Announce again and again, as jobs do, until it is heard."""
    async with bench.listening(run) as ears:
        seq = await bench.say(run, "again")

        async def repeat() -> None:
            while ears.last(run) < seq:
                await bench.say(run, "and again")
                await asyncio.sleep(0.1)

        await bench.soon(repeat(), "an event to be heard after the server came back")


@requirement("B-PUBLISH-009")
async def test_a_server_that_is_away_is_no_error(bench: BusBench) -> None:
    """Given dead servers, when events are announced, then none is taken, none raises, and later ones are heard."""
    run = await bench.run()
    await bench.say(run, "before")
    with bench.away():
        await announce_in_vain(bench, run, bench.bus)

    await say_until_heard(bench, run)


@requirement("B-PUBLISH-010")
async def test_a_server_that_never_answers_is_given_up(bench: BusBench) -> None:
    """Given a server that stands still, when events are announced, then each waits a moment at most, and soon none."""
    run = await bench.run()
    await bench.say(run, "before")
    with bench.standing_still():
        begun = time.monotonic()
        for seq in await bench.commit(run, "1", "2", "3", "4", "5", "6"):
            before = time.monotonic()
            await bench.soon(bench.publish(run.topic, [seq]), "a publish to be given up")
            assert time.monotonic() - before < MOST_SECONDS, "a publish waited for the server"
        assert time.monotonic() - begun < SECONDS_OF_SEVERAL, "every publish waited for the server"

    await say_until_heard(bench, run)
