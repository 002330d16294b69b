"""A link that is lost is told of: what was announced meanwhile is missing, and only the reader can find it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from django_ais.conformance.bench import Timed
from django_ais.conformance.bus_bench import BusBench, Ears, Run
from django_ais.conformance.manifest import requirement
from django_ais.conformance.trouble import Cable
from django_ais.exceptions import BusError

TIMES, CUTS = 4, 5


async def say_until_heard(bench: BusBench, ears: Ears, run: Run) -> None:
    """Announce again and again, as jobs do, until it is heard on the same subscription."""
    seq = await bench.say(run, "again")

    async def repeat() -> None:
        while ears.last(run) < seq and ears.error is None:
            await bench.say(run, "and again")
            await asyncio.sleep(0.1)

    await bench.soon(repeat(), "an event to be heard on the new link")
    assert ears.error is None, f"the subscription broke with the link: {ears.error!r}"


@requirement("B-LINK-001")
async def test_a_server_that_was_away_is_told_of(bench: BusBench) -> None:
    """Given a subscription, when the servers are killed and come back, then it says so before it tells anything new,
    and what is announced from then on is heard.
    """
    run = await bench.run()
    async with bench.listening(run) as ears:
        await ears.hear(run, await bench.say(run, "before"))
        with bench.away():
            before = len(ears.heard)
            await bench.commit(run, "announced to nobody")
        await say_until_heard(bench, ears, run)

        first = ears.heard[before]
    assert ears.reconnections >= 1, "the link was lost and nothing was said"
    assert type(first).__name__ == "Reconnected", f"the first thing heard after the loss was {first}"


@requirement("B-LINK-002")
async def test_a_connection_that_is_cut_is_told_of(bench: BusBench) -> None:
    """Given a server that lives on, when the connection to it is cut, then it is told of and later events are heard."""
    run = await bench.run()
    with Cable(bench.ports) as cable:
        async with bench.listening(run, bus=bench.build(*cable.ports)) as ears:
            await ears.hear(run, await bench.say(run, "before"))
            assert cable.cut() >= 1, "the suite's fault did not happen: nothing was connected"
            await ears.until(lambda: ears.reconnections, "Reconnected")
            await say_until_heard(bench, ears, run)


@requirement("B-LINK-003")
async def test_twenty_cuts_leave_a_subscription_that_hears(bench: BusBench) -> None:
    """Given a connection that is cut again and again, when it is left alone, then the same subscription hears; and so
    the next time.
    """
    run = await bench.run()
    with Cable(bench.ports) as cable:
        async with bench.listening(run, bus=bench.build(*cable.ports)) as ears:
            for _ in range(TIMES):
                for _ in range(CUTS):
                    cable.cut()
                    await bench.say(run, "meanwhile")
                await say_until_heard(bench, ears, run)
        assert cable.cuts >= TIMES, "the suite's fault did not happen"


@requirement("B-CLOSE-001")
async def test_it_may_be_closed_twice(bench: BusBench) -> None:
    """Given an instance that was used, when closed here and in another thread, then nothing is raised."""
    run, bus = await bench.run(), bench.build()
    async with bench.listening(run, bus=bus) as ears:
        await ears.hear(run, await bench.say(run, "used", through=bus))

    for _ in range(2):
        call = await asyncio.to_thread(Timed, bus.close, limit=15)
        assert call.ended, "close did not come back"
        assert call.error is None, f"close raised {call.error!r}"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"{bus.alias}-")]


@requirement("B-CHECK-001")
async def test_check_needs_no_server(bench: BusBench) -> None:
    """Given dead servers, when check is called, then it returns sentences, at once."""
    with bench.away():
        call = await asyncio.to_thread(Timed, bench.build().check, limit=5)

    assert call.ended, "check did not come back"
    assert call.error is None, f"check raised {call.error!r}"
    assert isinstance(call.value, list)
    assert all(isinstance(sentence, str) and sentence for sentence in call.value), call.value


@requirement("B-PROBE-001")
async def test_probe_says_whether_the_server_is_there(bench: BusBench) -> None:
    """Given a running server, then probe returns; with the servers dead it raises BusError within ten seconds."""
    assert isinstance(await asyncio.to_thread(bench.build().probe), list)

    with bench.away():
        call = await asyncio.to_thread(Timed, bench.build().probe, limit=10)

    assert call.ended, "probe did not come back"
    with pytest.raises(BusError):
        raise call.error or AssertionError("probe said nothing of a server that is away")
