"""Servers that say what they are told to whoever listens: ours, the floor, a peer; each uvicorn with one process."""

from __future__ import annotations

import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.measuring import Site, await_all
from tests.benchmarks.peers import Client, conversing
from tests.integration.streaming.servers import UvicornServer

OWN_LIMITS = {"STREAM_LIMIT": 100_000, "STREAM_LIMIT_PER_USER": 100_000}
CHAT = "bench"  # the conversation that every run of ours belongs to
PATHS = {
    "native": "/ais/runs/{run}/events",
    "AG-UI": "/ais/agui/runs/{run}/connect",
    "Vercel AI SDK": f"/ais/ai-sdk/bench.speak/chat/{CHAT}/stream",
}


@dataclass(frozen=True)
class Talker:
    """A server on its port, and how to make it say something."""

    server: UvicornServer
    path: str
    say: Callable[[int, int], None]  # how many events, and how many a second; 0 is as fast as can be
    pids: list[int]
    cookie: str = ""

    def listeners(self) -> AbstractContextManager[Client]:
        """A process of listeners, none of them connected yet."""
        where = [str(self.server.port), self.path, self.cookie]
        return conversing("tests.benchmarks.streaming.listeners", *where)

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.server.pid).memory_info().rss)


@contextmanager
def gate() -> Iterator[tuple[Path, Callable[[int, int], None]]]:
    """A FIFO that a speaker reads, and how to write to it; closed, the speaker is done."""
    with tempfile.TemporaryDirectory(prefix="ais-bench-", dir=os.environ["AIS_TEST_DIR"]) as folder:
        path = Path(folder) / "gate"
        os.mkfifo(path)
        end = os.open(path, os.O_RDWR)  # opens although nobody reads yet
        try:
            yield path, lambda count, per_second: _write(end, count, per_second)
        finally:
            os.close(end)


def _write(end: int, count: int, per_second: int) -> None:
    os.write(end, f"{count} {per_second}\n".encode())


@contextmanager
def bare() -> Iterator[Talker]:
    with gate() as (path, say), _uvicorn(path, "tests.benchmarks.streaming.bare:application") as server:
        yield Talker(server, "/", say, [server.pid])


@contextmanager
def eventstream(*, is_stored: bool, speaks_elsewhere: bool = False) -> Iterator[Talker]:
    """django-eventstream. ``speaks_elsewhere``: `send_event` in another process, through Redis."""
    settings = {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.peers.eventstream_settings",
        "AIS_BENCH_STORAGE": str(int(is_stored)),
        "AIS_BENCH_EVENTSTREAM_REDIS": os.environ["AIS_BENCH_REDIS"] if speaks_elsewhere else "",
    }
    with ExitStack() as stack:
        path, say = stack.enter_context(gate())
        own = "" if speaks_elsewhere else str(path)
        app = "tests.benchmarks.peers.eventstream:application"
        server = stack.enter_context(_uvicorn(path, app, **{**settings, "AIS_BENCH_GATE": own}))
        pids = [server.pid]
        if speaks_elsewhere:
            program = conversing("tests.benchmarks.peers.eventstream_speaker", str(path), **settings)
            pids += stack.enter_context(program).pids
        yield Talker(server, "/events", say, pids)


@contextmanager
def ours(site: Site, bus: Mapping[str, Any], *, form: str = "native") -> Iterator[Talker]:
    """Our own server, with these settings of the bus. The job that speaks runs in a worker process, unless the bus is
    one that ends with its process.
    """
    from tests.integration.streaming.conftest import cookie_of, person

    user = person(f"listener-{time.time_ns()}")
    is_embedded = bus["BACKEND"] == "memory"
    settings = own_settings(bus, queue="memory" if is_embedded else "database")
    with ExitStack() as stack:
        workers = [] if is_embedded else stack.enter_context(site.workers(settings, processes=1))
        server = stack.enter_context(server_of(settings))
        gates = stack.enter_context(ExitStack())
        path, say = gates.enter_context(gate())
        address = f"http://127.0.0.1:{server.port}/begin?gate={path}&user={user.pk}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            run = json.load(answer)["run"]
        yield Talker(server, PATHS[form].format(run=run), say, [server.pid, *workers], cookie_of(user))
        gates.close()
        await_all([run], seconds=30)


def own_settings(bus: Mapping[str, Any], *, queue: str = "database") -> dict[str, str]:
    """The environment of our servers and workers with this bus."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.streaming.worker_settings",
        "AIS_TEST_QUEUE": queue,
        "AIS_TEST_SETTINGS": json.dumps({**OWN_LIMITS, "BUSES": {"default": bus}}),
    }


@contextmanager
def server_of(settings: Mapping[str, str]) -> Iterator[UvicornServer]:
    """Our own server, with nothing said yet."""
    settings = {**settings, "DJANGO_SETTINGS_MODULE": "tests.benchmarks.streaming.settings"}
    with (
        tempfile.TemporaryDirectory(prefix="ais-bench-", dir=os.environ["AIS_TEST_DIR"]) as folder,
        UvicornServer(Path(folder), app="tests.benchmarks.streaming.ours:application", **settings) as server,
    ):
        yield server


@contextmanager
def _uvicorn(gate: Path, app: str, **environment: str) -> Iterator[UvicornServer]:
    with UvicornServer(gate.parent, app=app, **{"AIS_BENCH_GATE": str(gate), **environment}) as server:
        yield server
