"""From a job's `emit` in a worker process to the sockets of a hundred followers: each bus driver, and
django-eventstream with its Redis.

Twenty events a second, each a row and a frame of its own. Ours are committed before anybody hears of them, and at most
every 50 ms; of django-eventstream the row that stores its events does that too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial

from tests.benchmarks.measuring import Site, Table
from tests.benchmarks.peers import EVENTSTREAM
from tests.benchmarks.rounds import Figures, Row, interleave
from tests.benchmarks.streaming.buses import MAIN, buses
from tests.benchmarks.streaming.talkers import Talker, eventstream, ours

FOLLOWERS = 100
PER_SECOND = 20
WARM_UP = 20
SECONDS = 6


def run(site: Site, missing: Mapping[str, str]) -> None:
    """One row for each driver."""
    followers = site.count(FOLLOWERS)
    table = Table(f"emit -> client, {followers} followers of one run over TCP, {PER_SECOND} events a second")
    rows = [*_ours(site, missing, followers), *_peers(site, missing, followers)]
    interleave(site, table, rows, rate="frames/s", best=f"best peer / ours ('{MAIN}')")


def _ours(site: Site, missing: Mapping[str, str], followers: int) -> Iterator[Row]:
    for name, bus in buses().items():
        where = "the job in the server" if name == "memory" else "the job in a worker process"
        measure = partial(_measured, site, partial(ours, site, bus.settings), followers)
        absent = missing.get(bus.server, "") or bus.missing_for(site)
        yield Row(f"bus '{name}', {where}", measure, "ours" if name == MAIN else "", missing=absent)


def _peers(site: Site, missing: Mapping[str, str], followers: int) -> Iterator[Row]:
    for peer in EVENTSTREAM if site.peers else ():
        label = f"{peer.name}, {peer.tuning}" if peer.missing else peer.label
        started = partial(eventstream, is_stored=bool(peer.arguments), speaks_elsewhere=True)
        measure = partial(_measured, site, started, followers)
        absent = peer.missing or missing.get("redis", "")
        yield Row(f"{label}, through Redis", measure, "peer", f"{peer.name}, {peer.tuning}", absent)


def _measured(site: Site, started: Callable[[], AbstractContextManager[Talker]], followers: int) -> Figures:
    with started() as talker, talker.listeners() as listeners:
        listeners.ask("open", followers)
        talker.say(WARM_UP, PER_SECOND)
        listeners.ask("hear", WARM_UP)
        cpu = site.cpu(talker.pids)
        events = int(max(SECONDS * site.scale, 1) * PER_SECOND)
        talker.say(events, PER_SECOND)
        said = listeners.ask("hear", events)
        return {
            "p50 ms": said["p50"],
            "p99 ms": said["p99"],
            "delivered %": said["share"] * 100,
            "repeated %": said["repeated"] * 100,
            "CPU us/frame": (site.cpu(talker.pids) - cpu) / max(said["frames"], 1) * 1e6,
        }
