"""Worker processes of the `rq` queue: a family of processes, of which tests kill one or all."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from types import TracebackType

from tests.harness.waiting import until
from tests.integration.commands.processes import CommandProcess


class RqProcess(CommandProcess):
    """``manage.py ais_worker`` or ``manage.py rqworker``, with all that it forks and starts."""

    def family(self) -> dict[int, int]:
        """The processes below this one and their parents, the eldest first."""
        listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())}
        found: dict[int, int] = {}
        wave = {self.pid}
        while wave := {pid for pid, parent in parents.items() if parent in wave} - found.keys():
            found |= {pid: parents[pid] for pid in wave}
        return found

    def horses(self) -> list[int]:
        """The processes that run a job."""
        family = self.family()
        return [pid for pid, parent in family.items() if parent in family]

    def await_horse(self) -> int:
        """The one process that runs a job."""
        return until(self.horses, what="a work horse")[0]

    def sigkill_all(self) -> None:
        """As when the machine loses its power: nobody of the family is left, and nobody says good-bye."""
        family = [self.pid, *self.family()]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # first stopped, so that nobody replaces anybody
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sigkill_all()
        super().__exit__(kind, error, trace)
