"""Followers read every event once, in order, whatever becomes of frames, links, servers and worker processes.

Each fault is seen to have happened, else the test is red: a run in which nothing went wrong proves nothing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from django_ais.conformance.audience import Audience, assert_same, mangled, rows_of
from django_ais.conformance.bus_bench import BusBench, Run
from django_ais.conformance.manifest import requirement
from django_ais.conformance.trouble import Cable
from django_ais.events import Envelope

BACK_SECONDS = 3.0  # from a server's return until its bus tells of events again
END_SECONDS = 7.0  # until the end of a run is read whose last frame was lost: a probe looks every 5 s
STILL_SECONDS = 12.0  # in which jobs of four seconds end on a busy machine, although the bus's server stands still


def rough(place: int) -> str:
    """Of ten frames one is lost, one comes twice and one late."""
    return {3: "lost", 5: "twice", 7: "late"}.get(place % 10, "passed")


@requirement("B-EXACT-001")
async def test_frames_that_are_lost_repeated_and_late_change_nothing(bench: BusBench) -> None:
    """Given runs that speak over a rough bus, when they are followed, then each follower reads each event once."""
    audience = Audience(bench)
    with mangled(bench.bus, rough) as mangler:
        runs = await audience.speak(6, pieces=60, pause=0.03)
        audience.follow(runs, times=4, within=1.0)
        counts = await audience.assert_read_whole()

    fired = {"lost": mangler.lost, "repeated": mangler.repeated, "late": mangler.late}
    bench.facts["rough"] = {**counts, **fired}
    assert min(fired.values()) > 0, f"the suite's faults did not happen: {fired}"


@requirement("B-EXACT-002")
async def test_followers_that_join_at_any_moment_read_everything(bench: BusBench) -> None:
    """Given runs that speak, when 500 followers join at as many moments, then each reads each event once."""
    audience = Audience(bench)
    runs = await audience.speak(10, pieces=100, pause=0.03)
    audience.follow(runs, times=50, within=5.0)

    bench.facts["joins"] = await audience.assert_read_whole()


@requirement("B-EXACT-003")
async def test_the_end_is_read_although_its_frame_was_lost(bench: BusBench) -> None:
    """Given a bus that falls silent in the middle, and says nothing of it, then the end of each run is read in time."""
    audience = Audience(bench)
    with mangled(bench.bus, lambda place: "passed" if place < 10 else "lost") as mangler:
        runs = await audience.speak(2, pieces=40, pause=0.03)
        audience.follow(runs, times=2)
        await audience.until(lambda: audience.have_ended(runs), "the runs to end")
        ended = time.monotonic()
        counts = await audience.assert_read_whole()

    late = max(reader.ended_at for reader in audience.readers) - ended
    bench.facts["silent"] = {**counts, "fired": mangler.lost, "seconds": round(max(late, 0.0), 1)}
    assert mangler.lost, "the suite's fault did not happen: no frame was lost"
    assert late < END_SECONDS, f"the end of a run was read {late:.1f} s late"


@requirement("B-EXACT-004")
async def test_an_event_past_the_inline_limit_is_read_whole(bench: BusBench) -> None:
    """Given runs whose events are larger than a frame may be, when they are followed, then all of it is read."""
    audience = Audience(bench)
    length = min(bench.bus.max_inline_bytes * 2, bench.settings["MAX_EVENT_BYTES"] // 8)
    runs = await audience.speak(2, pieces=5, pause=0.2, length=length)
    audience.follow(runs, times=2)

    bench.facts["oversize"] = {**await audience.assert_read_whole(), "bytes": length}


@requirement("B-EXACT-005")
async def test_killed_worker_processes_leave_no_hole(bench: BusBench) -> None:
    """Given runs that speak, when the processes are killed and others begin them again, then followers read it all."""
    audience = Audience(bench)
    runs = await audience.speak(6, pieces=60, pause=0.03)
    audience.follow(runs, times=3, within=1.0)
    await audience.until(lambda: audience.events(runs) > 60, "the runs to speak")
    await asyncio.to_thread(bench.dismiss)
    audience.keep()

    counts = await audience.assert_read_whole()
    again = sum(line["attempt"] > 1 for run in runs for line in bench.ledger.lines("attempt", job=str(run.id)))
    bench.facts["sigkill"] = {**counts, "begun_again": again}
    assert again, "no killed process had a run"


@requirement("B-TENANT-001")
async def test_frames_of_another_tenants_run_change_nothing(bench: BusBench) -> None:
    """Given a follower of a tenant's run, when another tenant's events are put on its topic, and somebody without the
    key announces numbers that are none, then it reads the events of its run, and no word of the other.
    """
    own, other = await bench.run("a"), await bench.run("*")
    canary = await bench.commit(other, *["canary"] * 20)
    last = 41
    reading = asyncio.create_task(read_until(own, last))
    for number in range(20):
        await bench.publish(own.topic, [canary[number]])
        (true,) = await bench.commit(own, f"own {number}")
        wild = true.model_copy(update={"seq": true.seq + 10**9, "data": {"message": "m", "text": "forged"}})
        await bench.forge(own.topic, wild, true.model_copy(update={"data": {"message": "m", "text": "forged"}}))
        await bench.publish(own.topic, [true])
        await bench.say(own, "and on")

    found = await bench.soon(reading, "the follower to read its run")
    assert_same(found, await bench.do(rows_of, own))
    assert not [envelope for envelope in found if envelope.data.get("text") in ("canary", "forged")]


async def read_until(run: Run, last: int) -> list[Envelope]:
    """The events of a run up to a number."""
    from django_ais.runtime import streams

    found = []
    async with aclosing(streams.follow(run.id)) as envelopes:
        async for envelope in envelopes:
            found.append(envelope)
            if envelope.seq >= last:
                break
    return found


@requirement("B-BROKER-001")
async def test_a_server_that_is_killed_and_forgets_leaves_no_hole(bench: BusBench) -> None:
    """Given runs that speak, when every server is killed and comes back empty, then followers read each event once, and
    events go over the bus again within seconds.
    """
    audience = Audience(bench)
    runs = await audience.speak(8, pieces=150, pause=0.05)
    audience.follow(runs, times=5, within=1.0)
    await audience.until(lambda: audience.events(runs) > 80, "the runs to speak")
    async with bench.listening(*runs) as ears:
        await ears.until(lambda: ears.hints, "events on the bus")
        for server in bench.servers:
            await asyncio.to_thread(server.wipe)
        heard, begun = len(ears.hints), time.monotonic()
        await ears.until(lambda: len(ears.hints) > heard, "events on the bus again")
        back = time.monotonic() - begun
        counts = await audience.assert_read_whole()

    bench.facts["broker_wiped"] = {**counts, "fired": len(bench.servers), "back_s": round(back, 1)}
    assert back < BACK_SECONDS, f"events went over the bus again after {back:.1f} s"


@requirement("B-BROKER-002")
async def test_a_server_that_stands_still_holds_nobody(bench: BusBench) -> None:
    """Given runs that speak, when the servers stand still, then the runs end all the same, and are read to the end."""
    audience = Audience(bench)
    runs = await audience.speak(4, pieces=80, pause=0.05)
    audience.follow(runs, times=3)
    await audience.until(lambda: audience.events(runs) > 40, "the runs to speak")
    with bench.standing_still():
        begun = time.monotonic()
        await audience.until(lambda: audience.have_ended(runs), "the runs to end while the bus's server stands still")
        took = time.monotonic() - begun
        counts = await audience.assert_read_whole()

    bench.facts["broker_frozen"] = {**counts, "fired": len(bench.servers), "seconds": round(took, 1)}
    assert took < STILL_SECONDS, f"the runs took {took:.1f} s while the bus's server stood still"


@requirement("B-STORM-001")
async def test_links_that_are_cut_again_and_again_leave_no_hole(bench: BusBench) -> None:
    """Given followers whose links are cut twenty times, when they come back each time, then each event is read once."""
    from django_ais import registry

    audience = Audience(bench)
    with Cable(bench.ports) as cable, registry.buses.override("default", bench.build(*cable.ports)):
        runs = await audience.speak(6, pieces=100, pause=0.05)
        audience.follow(runs, times=5, within=1.0)
        for _ in range(20):
            await asyncio.sleep(0.2)
            cable.cut()
        counts = await audience.assert_read_whole()

    bench.facts["storm"] = {**counts, "fired": cable.cuts}
    assert cable.cuts > 2, "the suite's fault did not happen: hardly a link was cut"
