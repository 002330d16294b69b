"""The same work on peers: each runs in processes of its own, beside our rows, on the same PostgreSQL server.

A peer is a module of this package that is started as a program and answers one line for each line it is sent
(`serving`), so that no thread, import or setting of a peer is in the process that measures, and none of ours in theirs.
Every peer has a database of its own on the server; transaction ids are counted for the whole server. A peer whose
packages are missing is a row that says how to install them.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

ANSWER_SECONDS = 300.0  # longer than any answer takes; a program that hangs must not hang the benchmark
END_SECONDS = 60.0


@dataclass(frozen=True)
class Client:
    """A running peer."""

    process: subprocess.Popen[str]
    pids: list[int]

    @classmethod
    def greet(cls, process: subprocess.Popen[str]) -> Client:
        """Wait until it is ready; it names all its processes."""
        return cls(process, _answer(process)["pids"])

    def ask(self, command: str, *numbers: int) -> dict[str, Any]:
        """Let it work; what it says at the end."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command} {' '.join(map(str, numbers))}\n")
        self.process.stdin.flush()
        return _answer(self.process)


@contextmanager
def conversing(*arguments: str, **environment: str) -> Iterator[Client]:
    """A program that answers lines (`serving`), ready; at the end it is told to end, and killed if it does not."""
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Client.greet(process)
    finally:
        process.stdin.close()
        end(process, seconds=END_SECONDS)
        process.stdout.close()


def end(process: subprocess.Popen[Any], *, seconds: float) -> None:
    """Wait until a process that was told to end has ended; not for ever."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], ANSWER_SECONDS)[0]:
        raise TimeoutError(f"{process.args!r} has not answered for {ANSWER_SECONDS:.0f} s")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"The peer {process.args!r} ended with code {process.wait()}; its reason is above.")
    return dict(json.loads(line))


@dataclass(frozen=True)
class Peer:
    """One way to run one peer; ``arguments`` choose among the ways that its module knows."""

    module: str
    packages: Sequence[str]
    tuning: str
    arguments: Sequence[str] = ()

    @property
    def label(self) -> str:
        """Name, release and tuning, for a row."""
        return f"{self.name} {metadata.version(self.packages[0])}, {self.tuning}"

    @property
    def name(self) -> str:
        return self.packages[0]

    @property
    def missing(self) -> str:
        """How to install what is not there, or nothing."""
        absent = [package for package in self.packages if not _is_installed(package)]
        return f"not installed: pip install {' '.join(absent)}" if absent else ""

    @contextmanager
    def started(self) -> Iterator[Client]:
        """The peer's client and its worker processes, ready for work."""
        with conversing(__name__, self.module, *self.arguments) as client:
            yield client


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


PROCRASTINATE = ("procrastinate",)
TASKS_DB = ("django-tasks-db", "django-tasks")
DBOS = ("dbos",)
LANGGRAPH = ("langgraph", "langgraph-checkpoint-postgres")

QUEUES = (
    Peer("procrastinate_", PROCRASTINATE, "2 processes x 4 coroutines", ("2", "0.1")),
    Peer("tasks_db", TASKS_DB, "2 processes, polling every 0.05 s", ("2", "0.05")),
    Peer("tasks_db", TASKS_DB, "8 processes, polling every 0.05 s", ("8", "0.05")),
)
CELERY = ("django-celery-results", "celery")
CELERY_PREFORK = Peer("celery_", CELERY, "prefork 2", ("prefork", "1", "2"))
CELERY_THREADS = Peer("celery_", CELERY, "2 processes x 4 threads", ("threads", "2", "4"))
DRAMATIQ = Peer("dramatiq_", ("django-dramatiq", "dramatiq"), "2 processes x 4 threads", ("2", "4"))
RQ = Peer("rq_", ("django-rq", "rq"), "2 workers that fork, results in Redis", ("2",))
STEPS = (
    Peer("langgraph_", LANGGRAPH, "inline, durability sync", ("sync",)),
    Peer("langgraph_", LANGGRAPH, "inline, durability async", ("async",)),
    Peer("dbos_", DBOS, "inline"),
)
FAN = (Peer("dbos_", DBOS, "1 process x 8 threads"),)
IDLE = (
    Peer("procrastinate_", PROCRASTINATE, "1 process", ("1", "5")),
    Peer("procrastinate_", PROCRASTINATE, "1 process, polling every 0.1 s too", ("1", "0.1")),
)
EVENTSTREAM = (
    Peer("eventstream", ("django-eventstream",), "nothing stored"),
    Peer("eventstream", ("django-eventstream",), "stored in PostgreSQL", ("stored",)),
)
