"""The same work on peers: each runs in processes of its own, beside our rows, on the same PostgreSQL server.

A peer is a module of this package that is started as a program and answers one line for each line it is sent
(`serving`), so that no thread, import or setting of a peer is in the process that measures, and none of ours in theirs.
Every peer has a database of its own on the server; transaction ids are counted for the whole server. A peer whose
packages are missing is a row that says how to install them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any


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


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
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
        command = [sys.executable, "-m", __name__, self.module, *self.arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        try:
            yield Client.greet(process)
        finally:
            process.stdin.close()  # it ends its workers, then itself
            process.wait(60)


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
STEPS = (
    Peer("langgraph_", LANGGRAPH, "inline, durability sync", ("sync",)),
    Peer("langgraph_", LANGGRAPH, "inline, durability async", ("async",)),
    Peer("dbos_", DBOS, "inline"),
)
IDLE = (
    Peer("procrastinate_", PROCRASTINATE, "1 process", ("1", "5")),
    Peer("procrastinate_", PROCRASTINATE, "1 process, polling every 0.1 s too", ("1", "0.1")),
)
