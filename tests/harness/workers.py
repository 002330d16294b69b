"""Real worker processes for tests: started, killed, stopped and thawed, and ended with the test whatever happens.

Each is a child of the test in a session of its own, found again by its process id alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.harness import fences, ledger
from tests.harness.ledger import Ledger
from tests.harness.waiting import until

ROOT = Path(__file__).resolve().parent.parent.parent
FIRED = "fired"  # the file that failpoints write to
LONGEST = 500.0  # seconds; pytest's own limit usually comes first

SETTINGS = {"QUEUES": {"default": "database"}, "LEASE_SECONDS": 2, "SWEEP_SECONDS": 0.3, "MAX_DELIVERIES": 9}


class WorkerProcess:
    """One worker process. Imports while it is being made; takes jobs from `go` on."""

    def __init__(self, number: int, folder: Path, environment: Mapping[str, str], *, concurrency: int) -> None:
        self.name = f"worker-{number}"
        self._log = folder / f"{self.name}.log"
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "tests.harness.worker_process", str(writing), str(concurrency)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env={**environment, "PGAPPNAME": self.name}, cwd=ROOT, stdin=subprocess.PIPE, stdout=log,
                stderr=log, start_new_session=True, pass_fds=[writing],
            )  # fmt: skip
        os.close(writing)
        self._says = os.fdopen(reading)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def go(self, *, may_die: bool = False) -> WorkerProcess:
        """Let it take jobs; return when it does. With ``may_die`` also when it was killed by then: its threads may meet
        a failpoint before it has told us.
        """
        self._hear("loaded")
        self.send_off()
        if self._hear("ready", "" if may_die else "ready") == "":
            self._process.wait()
        return self

    def send_off(self) -> WorkerProcess:
        """Let it take jobs once it can, and wait for nothing."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        return self

    def _hear(self, *words: str) -> str:
        said = self._says.readline().strip()
        if said not in words:
            raise RuntimeError(f"{self.name} said {said!r} instead of {words[0]!r}:\n{self.log}")
        return said

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        self._process.terminate()
        return self._process.wait(20)

    def was_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self._process.poll() == -signal.SIGKILL

    def freeze(self) -> None:
        """SIGSTOP: all its threads stand still wherever they are."""
        os.kill(self.pid, signal.SIGSTOP)

    def freeze_outside_transactions(self) -> None:
        """SIGSTOP at a moment when no thread of it holds a transaction open, whose locks would stop everybody."""

        def caught() -> bool:
            self.freeze()
            if holds_no_transaction(self.name):
                return True
            self.thaw()
            return False

        until(caught, what=f"{self.name} to be outside of transactions")

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self._says.close()
        if self._process.stdin is not None:
            self._process.stdin.close()


def holds_no_transaction(application: str) -> bool:
    """Whether a stopped process has no transaction open. On SQLite: whether nobody is writing."""
    from django.db import OperationalError, connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND xact_start IS NOT NULL"
            cursor.execute(query, [application])
            return bool(cursor.fetchone()[0] == 0)
        patience = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("ROLLBACK")
        except OperationalError:
            return False
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {patience}")
    return True


@dataclass(frozen=True)
class Fault:
    """Something that happens to the processes at work once ``after`` pieces of work were begun."""

    after: int
    happen: Callable[[list[WorkerProcess]], object]


class Crew:
    """The worker processes of one test, with what they share: ledger, settings, environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger")
        self.workers: list[WorkerProcess] = []
        self.settings: dict[str, Any] = dict(SETTINGS)
        self._environment = {
            **os.environ,
            **environment,
            "AIS_FAILPOINTS_LOG": str(folder / FIRED),
            ledger.PLACE: str(self.ledger.path),
        }

    def change(self, **settings: Any) -> None:
        """Settings of the processes that are hired from now on."""
        self.settings.update(settings)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        return {**self._environment, "AIS_TEST_SETTINGS": json.dumps(self.settings)}

    def hire(
        self, *, failpoints: str = "", concurrency: int = 4, watched: bool = False, deaf: bool = False
    ) -> WorkerProcess:
        """Begin to start a worker process; it takes jobs from its `go` on."""
        more = {"AIS_FAILPOINTS": failpoints, fences.WATCHED: "1" if watched else "", fences.DEAF: "1" if deaf else ""}
        worker = WorkerProcess(
            len(self.workers) + 1, self.folder, {**self.environment, **more}, concurrency=concurrency
        )
        self.workers.append(worker)
        return worker

    def keep_alive(self, count: int, *, until_true: Callable[[], bool], faults: Sequence[Fault] = ()) -> None:
        """Keep processes at work until something is true, replacing each that dies; a spare one is ready at any time.

        Each fault happens once so many pieces of work were begun; all must have happened in the end.
        """
        ahead, spare = sorted(faults, key=lambda fault: fault.after), self.hire()
        working = [self.hire() for _ in range(count)]
        for worker in working:
            worker.go()

        def is_over() -> bool:
            nonlocal spare
            while ahead and len(self.ledger.lines("executed")) >= ahead[0].after:
                ahead.pop(0).happen(working)
            for place, worker in enumerate(working):
                if not worker.is_alive:
                    working[place], spare = spare.send_off(), self.hire()
            return until_true()

        until(is_over, what="the jobs to end", seconds=LONGEST)
        assert not ahead, f"{len(ahead)} faults came too late to happen"

    def elsewhere(self, verb: str, *arguments: str) -> Any:
        """Run a verb of `harness.elsewhere` in the environment of the worker processes; return what it says."""
        command = [sys.executable, "-m", "tests.harness.elsewhere", verb, *arguments]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{verb} failed:\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout or "null")

    @property
    def fired(self) -> list[str]:
        """The failpoints that killed a process, in order."""
        log = self.folder / FIRED
        return log.read_text().split() if log.exists() else []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.end()
        for worker in self.workers:
            print(f"--- {worker.name}, pid {worker.pid}\n{worker.log[-6_000:]}")
