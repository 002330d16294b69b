"""A real worker process of the driver under test: started, killed, stopped, frozen and thawed with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from django_ais.conformance.servers.processes import family

STOP_SECONDS = 30.0


class Worker:
    """One worker process, in a session of its own, found again by its process id alone."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = log.stem
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process that was started; an engine may have children."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-4_000:]

    def owns(self, pid: int) -> bool:
        """Whether a process is this one or below it."""
        return pid in family(self.pid)

    def kill(self) -> None:
        """SIGKILL it with its children, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        self._process.terminate()
        return self.await_end()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self._process.terminate()

    def await_end(self) -> int:
        """Wait for the end, and return the exit code. Raises AssertionError if it does not come."""
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker process did not end within {STOP_SECONDS:g} s:\n{self.log}") from None

    def freeze(self) -> None:
        """SIGSTOP: all its threads and children stand still wherever they are."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in family(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
