"""Worker processes that an engine's own command line starts, with their children, on this test's database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.waiting import until

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = "tests.integration.commands.settings"
SECONDS = 30  # a loaded machine needs long to start or to end a process


class EngineProcess:
    """A command in a session of its own; what it says goes to a file. Its whole session is killed at the end."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=dict(environment), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def hear(self, word: str) -> None:
        """Wait until it has said a word."""
        until(lambda: word in self.said or not self.is_alive, what=word, seconds=SECONDS)
        assert word in self.said, self.said

    def children(self) -> list[int]:
        """Its direct children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def send(self, number: int) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL this process and all of its children at once, as a machine would lose them."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(SECONDS)

    def end(self) -> int:
        """Wait until it has ended by itself; the exit code."""
        return self._process.wait(SECONDS)


@contextmanager
def running(
    command: Sequence[str], folder: Path, settings: Mapping[str, Any], **environment: str
) -> Iterator[EngineProcess]:
    """Run a command; print what it said if the test fails."""
    log = folder / f"process-{len(list(folder.glob('process-*')))}.log"
    whole = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "AIS_TEST_SETTINGS": json.dumps(settings),
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    process = EngineProcess(command, log, whole)
    try:
        yield process
    except BaseException:
        print(f"--- process {process.pid}: {' '.join(command)}\n{process.said[-8_000:]}")
        raise
    finally:
        if process.is_alive:
            process.kill()


def ais_worker(*arguments: str) -> list[str]:
    """The command line of ``manage.py ais_worker``."""
    return [sys.executable, "-m", "django", "ais_worker", *arguments]
