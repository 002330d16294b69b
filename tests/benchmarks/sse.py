"""Followers of one run over TCP: a burst to a thousand of them, and five thousand that are idle.

Emit -> client is from the job's `emit` to the client's socket, in paced events and within the burst. A frame is one
event at one client. The servers are uvicorn with one process each; listeners are a process of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from tests.benchmarks.measuring import Site, Table
from tests.benchmarks.peers import EVENTSTREAM, Peer
from tests.benchmarks.rounds import Figures, Row, interleave
from tests.benchmarks.streaming.idle import IDLE, WARM, idle_for, raise_file_limit, stay
from tests.benchmarks.streaming.talkers import Talker, bare, eventstream, ours

FOLLOWERS = 1_000
PACED, PER_SECOND = 15, 3
BURST = 100
MOST_STORED = 400  # the private server takes 500 connections


def run(site: Site) -> None:
    """The floor, ours within the server process and behind a worker process, and django-eventstream."""
    raise_file_limit(2 * IDLE)
    followers = site.count(FOLLOWERS)
    table = Table(f"server-sent events, {followers:,} followers of one run")
    servers = list(_servers(site))
    rows = [Row(each.what, partial(_busy, each, followers), each.role, each.name, each.missing) for each in servers]
    interleave(site, table, rows, rate="frames/s", best="best peer / ours")
    idle = site.count(IDLE)
    table = Table(f"{idle:,} idle followers")
    for each in servers:
        if each.role in ("floor", "ours"):
            with each.started() as talker:
                table.add(each.what, **stay(talker, idle, seconds=idle_for(site)))


@dataclass(frozen=True)
class Server:
    """One way to stream."""

    what: str
    started: Callable[[], AbstractContextManager[Talker]]
    site: Site
    role: str = ""
    name: str = ""
    missing: str = ""
    most: int = sys.maxsize  # followers


def _servers(site: Site) -> Iterator[Server]:
    yield Server("bare ASGI fan-out, no database", bare, site, "floor")
    yield Server("bus 'memory', the job in the server", partial(ours, site, {"BACKEND": "memory"}), site, "ours")
    database = partial(ours, site, {"BACKEND": "database"})
    yield Server("bus 'database', the job in a worker process", database, site)
    for peer in EVENTSTREAM if site.peers else ():
        yield _peer_server(site, peer)


def _peer_server(site: Site, peer: Peer) -> Server:
    label = f"{peer.name}, {peer.tuning}" if peer.missing else peer.label
    is_stored = bool(peer.arguments)
    started = partial(eventstream, is_stored=is_stored)
    if not is_stored:
        return Server(label, started, site, "peer", peer.name, peer.missing)
    label += f", at most {MOST_STORED} (a database connection each)"
    return Server(label, started, site, "", peer.name, peer.missing, MOST_STORED)  # not the same work


def _busy(server: Server, followers: int) -> Figures:
    """Connect, one event at a time, then the burst."""
    followers = min(followers, server.most)
    with server.started() as talker, talker.listeners() as listeners:
        warm = min(WARM, followers // 10)
        listeners.ask("open", warm)
        before = talker.memory
        listeners.ask("open", followers - warm)
        grown = talker.memory - before
        talker.say(PACED, PER_SECOND)
        paced = listeners.ask("hear", PACED)
        cpu = server.site.cpu(talker.pids)
        talker.say(BURST, 0)
        burst = listeners.ask("hear", BURST)
        return {
            "frames/s": burst["frames"] / burst["seconds"],
            "delivered %": burst["share"] * 100,
            "repeated %": burst["repeated"] * 100,
            "p50 ms": paced["p50"],
            "p99 ms": paced["p99"],
            "burst p50 ms": burst["p50"],
            "burst p99 ms": burst["p99"],
            "CPU us/frame": (server.site.cpu(talker.pids) - cpu) / burst["frames"] * 1e6,
            "KiB/client": grown / 1024 / (followers - warm),
        }
