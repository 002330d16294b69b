"""Due rows for queue drivers whose table is the queue: claimed in batches, waited for without a busy poll."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db import connections

from django_ais.models import JobPacket
from django_ais.runtime import database, lifecycle, sql
from django_ais.runtime.leases import Lease, keeper
from django_ais.runtime.occupancy import is_suspect, occupancy

CHANNEL = "ais_due"
NOTIFY_EVERY = 0.02  # seconds; a worker process that was just woken looks again by itself, see AFTERGLOW
GATHER_SECONDS = 0.01  # between looks of a process that runs jobs: what comes meanwhile is claimed together
AFTERGLOW = 0.25  # seconds after a wake-up in which a worker process looks again soon
FIRST_POLL, LAST_POLL = 0.01, 0.25  # seconds between looks where the database cannot wake us
LONGEST_WAIT = 5.0  # seconds between looks where it can


class DueJobs:
    """A `queues.Source`. What it reserves is claimed already; `take` hands the lease to whoever handles the job."""

    def __init__(self) -> None:
        self._taken: dict[UUID, tuple[JobPacket, Lease]] = {}
        self._woken = threading.Event()
        self._is_interrupted = False
        self._last_wake = 0.0
        self._last_notify = 0.0
        self._poll = FIRST_POLL
        self._gathers_until = 0.0
        self._listener: Listener | None = None
        self._ours: set[str] = set()  # queues whose driver asks here

    def reserve(self, queue_name: str, *, limit: int, timeout: float) -> Sequence[str]:
        """Claim up to ``limit`` due jobs of a queue; wait up to ``timeout`` seconds for the first."""
        try:
            return self._reserve(queue_name, limit, time.monotonic() + timeout)
        except Exception:
            self.close()
            connections.close_all()  # this thread's: what failed is of no use to the next call
            raise

    def _reserve(self, queue_name: str, limit: int, end: float) -> Sequence[str]:
        while True:
            if occupancy.running and (pause := self._gathers_until - time.monotonic()) > 0:
                time.sleep(pause)
            self._woken.clear()  # before the look, never after: a wake-up during it must not be lost
            if claimed := self._claim(queue_name, limit):
                self._poll = FIRST_POLL
                self._last_wake = time.monotonic()
                self._gathers_until = self._last_wake + (GATHER_SECONDS if len(claimed) < limit else 0.0)
                return [str(row.id) for row, _ in claimed]
            if (left := end - time.monotonic()) <= 0 or self._is_interrupted:
                self._is_interrupted = False
                return []
            self._wait(queue_name, left)

    def _claim(self, queue_name: str, limit: int) -> list[tuple[JobPacket, Lease]]:
        alone = occupancy.enter()
        if alone is None:
            return []
        first: JobPacket | None = None
        try:
            claimed = lifecycle.claim_due(queue_name, limit=limit, alone=False)
            if not claimed and alone:
                claimed = lifecycle.claim_due(queue_name, limit=1, alone=True)
            first = claimed[0][0] if claimed else None
            for row, lease in claimed:
                keeper().watch(lease, overdue=lambda: None)
                self._taken[row.id] = (row, lease)
            occupancy.add(len(claimed))
            return claimed
        finally:
            occupancy.leave(still_closed=first is not None and is_suspect(first))

    def take(self, job_id: UUID) -> tuple[JobPacket, Lease] | None:
        """The row and lease of a job that was reserved in this process."""
        return self._taken.pop(job_id, None)

    def give_back(self) -> int:
        """Release what was reserved and never begun; return how many."""
        given_back = 0
        while self._taken:
            _, (_, lease) = self._taken.popitem()
            keeper().forget(lease)
            given_back += lifecycle.release(lease)
            occupancy.leave()
        return given_back

    def _wait(self, queue_name: str, left: float) -> None:
        listener = self._listening()
        if listener is None:
            self._woken.wait(min(left, self._poll))
            self._poll = min(self._poll * 2, LAST_POLL)
            return
        if time.monotonic() - self._last_wake < AFTERGLOW:
            wait = AFTERGLOW / 5
        else:
            due = sql.next_due(queue_name)
            wait = max(due, 0.005) if due is not None and due > 0 else LONGEST_WAIT
        if listener.wait(min(left, wait)):
            self._last_wake = time.monotonic()

    def _listening(self) -> Listener | None:
        """This thread's LISTEN connection, unpooled and of its own; None where the database cannot wake us."""
        if not database.is_postgres():
            return None
        if self._listener is None or self._listener.closed:
            self.close()
            connection = open_listener(CHANNEL)
            self._listener = None if connection is None else Listener(connection)
        return self._listener

    def close(self) -> None:
        """Close the LISTEN connection."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def wake(self, queue_name: str) -> None:
        """Tell idle worker processes that rows are due: this process at once, others through the database."""
        self._end_wait()
        self._poll = FIRST_POLL
        self._ours.add(queue_name)
        if database.is_postgres() and (notify := self.wake_up(queue_name)):
            database.execute("SELECT pg_notify(%s, %s)", notify)

    def wake_up(self, queue_name: str) -> tuple[str, str] | None:
        """What to notify in a statement that makes a job due, so that `wake` need not: a channel and a text. None for
        queues that no `wake` was asked for so far, and right after another.
        """
        if queue_name not in self._ours or time.monotonic() - self._last_notify < NOTIFY_EVERY:
            return None
        self._last_notify = time.monotonic()
        return CHANNEL, queue_name

    def interrupt(self, queue_name: str) -> None:
        """Let a waiting `reserve` of this process return: it looks once more, then it gives what it has."""
        self._is_interrupted = True
        self._end_wait()

    def _end_wait(self) -> None:
        self._woken.set()
        if (listener := self._listener) is not None:
            listener.interrupt()


class Listener:
    """A LISTEN connection, and a pipe by which threads of this process end a wait for it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._inner, self._outer = os.pipe()
        os.set_blocking(self._inner, False)
        os.set_blocking(self._outer, False)

    @property
    def closed(self) -> bool:
        """Whether the connection is of no more use."""
        return bool(self._connection.closed)

    def wait(self, seconds: float) -> bool:
        """Wait for a notification or an interruption; whether one came."""
        ready, _, _ = select.select([self._connection.fileno(), self._inner], [], [], seconds)
        if self._inner in ready:
            with suppress(BlockingIOError):
                os.read(self._inner, 4096)
        for _ in self._connection.notifies(timeout=0):
            pass
        return bool(ready)

    def interrupt(self) -> None:
        """End a wait."""
        with suppress(OSError):  # full: it will end anyway; closed: nobody waits
            os.write(self._outer, b"!")

    def close(self) -> None:
        """Close the connection and the pipe."""
        self._connection.close()
        os.close(self._inner)
        os.close(self._outer)


def open_listener(channel: str) -> Any:
    """A dedicated autocommit connection that listens on a channel; None without psycopg 3.2 or later."""
    try:
        import psycopg
    except ImportError:
        return None
    if tuple(int(part) for part in psycopg.__version__.split(".")[:2]) < (3, 2):
        return None
    own = psycopg.connect(**database.address(), autocommit=True)
    own.execute(f"LISTEN {channel}")
    return own


due_jobs = DueJobs()
