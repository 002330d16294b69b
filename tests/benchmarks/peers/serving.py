"""A peer's side of the conversation: a line in, the work, a line of JSON out; what several peers do alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.benchmarks.peers import end

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library or a worker process prints is no answer

WAIT_SECONDS = 120.0
LOOK_SECONDS = 0.05  # as often as our own rows look whether all is done

STARTED: list[subprocess.Popen[bytes]] = []
LOGS: list[Path] = []


def serve(pids: Sequence[int] = (), **commands: Callable[..., dict[str, Any]]) -> None:
    """Say who we are, then do what each line asks, until there are no more lines."""
    _say({"pids": [os.getpid(), *pids]})
    for line in sys.stdin:
        name, *numbers = line.split()
        _say(commands[name](*map(int, numbers)))


def _say(answer: dict[str, Any]) -> None:
    ANSWERS.write(json.dumps(answer) + "\n")
    ANSWERS.flush()


def address(database: str) -> str:
    """The libpq address of a peer's own database on the private server; makes the database when it is not there."""
    import psycopg

    server = f"host=127.0.0.1 port={os.environ['AIS_TEST_PG_PORT']} user=postgres"
    with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as connection:
        there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        if there is None:
            connection.execute(f"CREATE DATABASE {database}")
    return f"{server} dbname={database}"


def is_worker() -> bool:
    """Whether this process was started as one of a peer's workers."""
    return sys.argv[1:2] == ["worker"]


@contextmanager
def workers(
    command: Sequence[str], processes: int, *, pass_fds: Sequence[int] = (), log: str = ""
) -> Iterator[list[int]]:
    """So many processes of this command; their process ids. With ``log``, a name, what they print goes to a file."""
    with _output(log) as output:
        for _ in range(processes):
            process = subprocess.Popen(
                [sys.executable, "-m", *command], pass_fds=pass_fds, stdout=output, stderr=output
            )
            STARTED.append(process)
    try:
        yield [process.pid for process in STARTED]
    finally:
        for process in STARTED:
            process.send_signal(signal.SIGTERM)
        for process in STARTED:
            end(process, seconds=10)


@contextmanager
def _output(name: str) -> Iterator[IO[bytes] | None]:
    if not name:
        yield None
        return
    path = Path(os.environ["AIS_TEST_DIR"]) / f"{name}-{os.getpid()}.log"
    LOGS.append(path)
    with path.open("ab") as file:
        yield file


def said() -> str:
    """The last that the workers printed into files."""
    return "\n".join(path.read_text(errors="replace")[-4_000:] for path in LOGS)


def noop(
    dispatch: Callable[[int], Any], any_open: Callable[[], bool], succeeded: Callable[[], int], count: int
) -> dict[str, Any]:
    """Dispatch one by one, wait for the last: seconds until all were dispatched, and until all had ended; how many more
    have succeeded than before, which must be all.
    """
    before, begun = succeeded(), time.perf_counter()
    for number in range(count):
        dispatch(number)
    dispatched = time.perf_counter() - begun
    while any_open():
        if time.perf_counter() - begun > WAIT_SECONDS:
            raise TimeoutError(f"{sys.argv[0]}: jobs are still open after {WAIT_SECONDS:.0f} s\n{said()}")
        if ended := [process.pid for process in STARTED if process.poll() is not None]:
            raise RuntimeError(f"{sys.argv[0]}: worker processes {ended} ended before the work did\n{said()}")
        time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "dispatched": dispatched, "succeeded": succeeded() - before}


def steps(workflow: Callable[[], Any], workflows: int) -> dict[str, Any]:
    """One workflow after another: seconds in all, milliseconds of each."""
    begun, took = time.perf_counter(), []
    for _ in range(workflows):
        once = time.perf_counter()
        workflow()
        took.append((time.perf_counter() - once) * 1000)
    return {"seconds": time.perf_counter() - begun, "took": took}
