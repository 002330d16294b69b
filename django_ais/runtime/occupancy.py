"""What this worker process is doing: how many jobs it runs, and whether one of them must be alone.

A job whose worker processes died twice is suspected of killing them; it runs only where it can burn nobody else.
"""

from __future__ import annotations

import threading

from django_ais.models import JobPacket
from django_ais.runtime.sql import SUSPECT_AFTER


class Occupancy:
    """Counts running jobs; admits a suspect only to an idle process, and nobody beside it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._closed = False
        self._stopping = False

    def enter(self, *, timeout: float = 5.0) -> bool | None:
        """Come in for one job: True if nobody else is here, False if somebody is, None if nobody may come in now.

        One that comes in alone keeps others waiting until it says by `admit` what it found.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._closed or self._stopping, timeout) or self._stopping:
                return None
            self._running += 1
            self._closed = self._running == 1
            return self._closed

    def admit(self, row: JobPacket | None) -> None:
        """Say what the claim found; unless it is a suspect, others may come in."""
        with self._changed:
            self._closed = row is not None and is_suspect(row)
            self._changed.notify_all()

    def leave(self, *, still_closed: bool = False) -> None:
        """Go out; ``still_closed`` keeps others out, because what was found is still to be run."""
        with self._changed:
            self._running -= 1
            self._closed = still_closed
            self._changed.notify_all()

    def add(self, count: int) -> None:
        """Count jobs that were claimed ahead of their handling."""
        with self._changed:
            self._running += count

    def refuse(self) -> None:
        """Let nobody come in any more: this process is stopping."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def reopen(self) -> None:
        """Let jobs come in again."""
        with self._changed:
            self._stopping = False

    @property
    def running(self) -> int:
        """How many jobs are in this process's hands."""
        return self._running

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait for the last job to leave."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout)


def is_suspect(row: JobPacket) -> bool:
    """Whether the claims before this one ended with dead processes."""
    return row.deliveries > SUSPECT_AFTER


occupancy = Occupancy()
