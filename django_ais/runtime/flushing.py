"""The thread that commits what the jobs of this process have said, in one transaction for all of them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import DatabaseError, Error, InterfaceError, OperationalError, connections

from django_ais import conf
from django_ais.exceptions import JobError
from django_ais.runtime import database, failpoints, journal, links, sql
from django_ais.runtime.journal import Buffer, Draft

logger = logging.getLogger("django_ais.journal")

THREAD = "ais-flusher"
LOCK_SECONDS = 2.0  # a frozen process may hold one run's counters row; the other runs' events must not wait for it
AWAY_SECONDS = 1.0  # between tries to write to a database that cannot be reached


class Flusher:
    """The thread that commits what the jobs of this process have said."""

    def __init__(self) -> None:
        self._due: dict[Buffer, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_limited = False  # this thread's connection, in how long it waits for a lock
        self._wakes_at = 0.0  # when the thread looks by itself; to wake it for every short job costs as much as one

    def wake(self, buffer: Buffer, *, delay: float = 0.0) -> None:
        """Something was appended: write it after ``delay`` seconds, or a flush interval after the last flush."""
        due = time.monotonic() + delay
        with self._changed:
            if threading.current_thread().name == THREAD and not self._is_wanted():
                return  # it is being stopped: what it could not write is left to a step or settle
            if self._due.get(buffer, float("inf")) <= due:
                return
            self._due[buffer] = due
            if self._thread is None or not self._thread.is_alive():
                self._is_limited = False
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                self._thread.start()
            elif due < self._wakes_at:
                self._changed.notify_all()

    def forget(self, buffer: Buffer) -> None:
        """The attempt is over."""
        with self._changed:
            self._due.pop(buffer, None)

    def stop(self) -> None:
        """End the thread and close its connection; what is still buffered is left to its step or settle."""
        with self._changed:
            self._due.clear()
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        links.dedicated_connection()
        earliest = 0.0
        try:
            while self._await_due(earliest):
                self._flush_due()
                earliest = time.monotonic() + conf.current().event_flush_ms / 1000
        finally:
            connections.close_all()

    def _await_due(self, earliest: float) -> bool:
        """Wait until a buffer is due, but not before ``earliest``; False when it is time to stop."""
        with self._changed:
            while self._is_wanted():
                self._wakes_at = max(min(self._due.values()), earliest) if self._due else float("inf")
                if (pause := self._wakes_at - time.monotonic()) <= 0:
                    self._wakes_at = 0.0
                    return True
                self._changed.wait(None if pause == float("inf") else pause)
            return False

    def _is_wanted(self) -> bool:
        """Whether the thread that asks is still the one; `stop` and a later start make it another's."""
        return self._thread is threading.current_thread()

    def _flush_due(self) -> None:
        with self._changed:
            buffers, self._due = list(self._due), {}
        # A buffer that is being written already is drained by its step or settle.
        held = [buffer for buffer in buffers if buffer.writing.acquire(blocking=False)]
        try:
            if not self._is_limited:
                database.limit_lock_waits(LOCK_SECONDS)
                self._is_limited = True
            self._flush(held)
        except Exception:  # the loop must outlive whatever one flush met
            logger.exception("events could not be written")
            self._reconnect()
            for buffer in held:
                self.wake(buffer, delay=AWAY_SECONDS)
        finally:
            for buffer in held:
                buffer.writing.release()
        for buffer in set(buffers) - set(held):
            self.wake(buffer, delay=conf.current().event_flush_ms / 1000)

    def _flush(self, buffers: Sequence[Buffer]) -> None:
        try:
            flush_together(buffers)
        except Error:
            logger.warning("a flush failed; trying again run by run", exc_info=True)
            self._reconnect()
            by_run: dict[UUID, list[Buffer]] = defaultdict(list)
            for buffer in buffers:
                by_run[buffer.lease.root_id].append(buffer)
            for run, alone in by_run.items():
                self._flush_alone(run, alone)

    def _reconnect(self) -> None:
        connections.close_all()
        self._is_limited = False

    def _flush_alone(self, run: UUID, buffers: Sequence[Buffer]) -> None:
        try:
            flush_together(buffers)
        except (OperationalError, InterfaceError):
            logger.warning("the database takes no events of run %s; they are kept", run, exc_info=True)
            self._reconnect()
            for buffer in buffers:
                self.wake(buffer, delay=AWAY_SECONDS)
        except DatabaseError as error:
            logger.exception("events of run %s could not be written", run)
            self._reconnect()
            for buffer in buffers:
                buffer.take()
                buffer.drop()
                buffer.lease.end(JobError(f"events of job {buffer.lease.job_id} could not be written: {error}"))


def flush_together(buffers: Sequence[Buffer]) -> None:
    """Write several buffers in one commit. The caller holds each one's ``writing``.

    Locks the counters rows in id order, reads the fences in a new statement once it has them, and numbers what still
    may be written. After the commit the buffers are emptied; if it fails they keep everything in order.
    """
    for buffer in buffers:
        buffer.settle_doubt()
    taken = [(buffer, buffer.take()) for buffer in buffers]
    taken = [(buffer, drafts) for buffer, drafts in taken if drafts]
    if not taken:
        return
    try:
        fences = database.transact(lambda: _write_valid(taken))
    except BaseException:
        for buffer, _ in taken:
            buffer.keep()
        raise
    for buffer, _ in taken:
        buffer.drop()
        buffer.lease.end_by(fences.get(buffer.lease.job_id))


def _write_valid(taken: Sequence[tuple[Buffer, list[Draft]]]) -> dict[UUID, tuple[int, str, str]]:
    leases = [buffer.lease for buffer, _ in taken]
    last = sql.lock_counters(sorted({lease.root_id for lease in leases}))
    fences = sql.fences([lease.job_id for lease in leases])
    rows: dict[tuple[str, UUID], list[dict[str, Any]]] = defaultdict(list)
    for buffer, drafts in taken:
        lease = buffer.lease
        if fences.get(lease.job_id) != (lease.epoch, lease.owner, "running") or lease.root_id not in last:
            continue
        for draft in drafts:
            last[lease.root_id] += 1
            rows[lease.tenant, lease.root_id].append(journal.event_row(lease.root_id, draft, last[lease.root_id]))
    if rows:
        sql.insert_events([row for run in rows.values() for row in run])
        sql.set_last_numbers({root: last[root] for _, root in rows})
        failpoints.hit("mid_flush")
        for (tenant, _), run in rows.items():
            database.after_commit(journal.publish, (tenant, run))
    return fences


_flushers: dict[int, Flusher] = {}


def flusher() -> Flusher:
    """This process's flusher; a forked child gets its own."""
    return _flushers.setdefault(os.getpid(), Flusher())
