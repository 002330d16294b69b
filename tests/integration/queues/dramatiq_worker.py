"""Dramatiq's worker processes as children of a test: a master and what it forks, ended together."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from types import TracebackType

from tests.integration.commands.processes import CommandProcess

READY = "ready for action"


class Engine(CommandProcess):
    """``manage.py ais_worker``, which becomes dramatiq's master, and its worker processes."""

    def await_ready(self) -> int:
        """Return when a worker process takes messages; its process id."""
        found = re.search(r"\[PID (\d+)\]", self.hear(READY))
        assert found is not None
        return int(found[1])

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # its own session: the test started it with one
        super().__exit__(kind, error, trace)
