"""Followers who hear nothing for a while: what each costs the server, in each format, and how fast the next event is
written to all of them.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from typing import Any

import psutil

from tests.benchmarks.measuring import Site, Table, median
from tests.benchmarks.rounds import Figures
from tests.benchmarks.streaming.talkers import Talker, ours

IDLE = 5_000
FRONT_ENDS = 1_000
WARM = 100  # followers that are there before memory is measured: what a process grows by once is not theirs
SINGLE = 5  # events, one by one, to the idle ones


def run(site: Site, bus: Mapping[str, Any]) -> None:
    """Our server with the native format, and with those of front ends."""
    raise_file_limit(2 * IDLE)
    table = Table(f"idle followers of one run, bus '{bus['BACKEND']}', the job in a worker process")
    for form, many in (("native", IDLE), ("AG-UI", FRONT_ENDS), ("Vercel AI SDK", FRONT_ENDS)):
        followers = site.count(many)
        with ours(site, bus, form=form) as talker:
            table.add(f"{form}, {followers:,}", **stay(talker, followers, seconds=idle_for(site)))


def idle_for(site: Site) -> float:
    """How many seconds they are let be."""
    return max(10 * site.scale, 3)


def stay(talker: Talker, followers: int, *, seconds: float) -> Figures:
    """Connect, let them be, then events one by one, each a write to every client."""
    with talker.listeners() as listeners:
        warm = min(WARM, followers // 10)
        listeners.ask("open", warm)
        before, process = talker.memory, psutil.Process(talker.server.pid)
        opened = listeners.ask("open", followers - warm)["seconds"]
        grown = talker.memory - before
        cpu = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        used = (sum(process.cpu_times()[:2]) - cpu) / seconds * 100
        heard = []
        for _ in range(SINGLE):
            talker.say(1, 0)
            heard.append(listeners.ask("hear", 1))
        return {
            "KiB/client": grown / 1024 / (followers - warm),
            "threads": process.num_threads(),
            "database connections": _database_connections(process),
            "idle CPU %": used,
            "opened/s": (followers - warm) / opened,
            "writes/s": median(each["frames"] / (each["seconds"] or float("inf")) for each in heard),
            "delivered %": sum(each["share"] for each in heard) / SINGLE * 100,
        }


def _database_connections(process: psutil.Process) -> int:
    port = int(os.environ.get("AIS_TEST_PG_PORT") or 0)
    return sum(bool(link.raddr) and link.raddr.port == port for link in process.net_connections())


def raise_file_limit(wanted: int) -> None:
    """Let this process and those that it starts open so many files, or say that it cannot."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        print(f"only {most} files may be open; {wanted} are wanted (ulimit -Hn)")
