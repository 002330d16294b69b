"""The only writer of events: buffer, coalesce, number, insert, publish after commit. Only under a valid lease.

A job appends to its `Buffer`, which touches no database. The process's `Flusher` writes what all its jobs have said in
one commit, at most every ``EVENT_FLUSH_MS``; a step's outcome and a settle drain the job's own buffer in their own
transaction, so that what is recorded and what was said agree.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import DatabaseError, Error, InterfaceError, OperationalError, connections

from django_ais import conf, registry, tenancy
from django_ais.events import DELTA_TYPES, Envelope, Event
from django_ais.exceptions import JobError
from django_ais.runtime import database, failpoints, links, sql
from django_ais.runtime.leases import Lease
from django_ais.values import sanitised, shortened

logger = logging.getLogger("django_ais.journal")

AWAY_SECONDS = 1.0  # between tries to write to a database that cannot be reached


class Draft:
    """An event that has no number yet."""

    __slots__ = ("data", "job_id", "time", "type")

    def __init__(self, job_id: UUID, event: Event) -> None:
        self.job_id = job_id
        self.type = event.type
        self.time = database.moment()
        self.data = shortened(sanitised(event.data()), limit=conf.current().max_event_bytes)

    def absorb(self, later: Draft) -> bool:
        """Take the text of a later delta of the same message, if the two are that."""
        if self.type not in DELTA_TYPES or later.type != self.type or later.data["message"] != self.data["message"]:
            return False
        if len(self.data["text"]) + len(later.data["text"]) > conf.current().max_event_bytes // 4:
            return False
        self.data = {**self.data, "text": self.data["text"] + later.data["text"]}
        return True


class Buffer:
    """What one attempt has said and nobody has written yet. `append` may be called from any thread.

    ``writing`` is held by whoever writes the buffer: the flusher, a step or the settle, one at a time.
    """

    def __init__(self, lease: Lease, *, flusher: Flusher | None) -> None:
        self.lease = lease
        self.writing = threading.Lock()
        self._drafts: list[Draft] = []
        self._taken = 0
        self._mutex = threading.Lock()
        self._flusher = flusher

    def append(self, event: Event, *, at_leisure: bool = False) -> None:
        """Say something; raises what ended the lease.

        ``at_leisure`` leaves it a flush interval for a settle to carry along, so that a short job costs no extra
        commit.
        """
        self.lease.check()
        draft = Draft(self.lease.job_id, event)
        with self._mutex:
            open_drafts = len(self._drafts) > self._taken
            if not (open_drafts and self._drafts[-1].absorb(draft)):
                self._drafts.append(draft)
        if self._flusher is not None:
            self._flusher.wake(self, delay=conf.current().event_flush_ms / 1000 if at_leisure else 0.0)

    def take(self, *, only: int | None = None) -> list[Draft]:
        """What is to be written; it stays until `drop`. Only while holding ``writing``. ``only`` forgets the rest."""
        with self._mutex:
            if only is not None:
                del self._drafts[only:]
            self._taken = len(self._drafts)
            return self._drafts[: self._taken]

    def drop(self) -> None:
        """Forget what was taken: it is committed, or nobody may write it any more."""
        with self._mutex:
            del self._drafts[: self._taken]
            self._taken = 0

    def keep(self) -> None:
        """Leave what was taken for the next time, in its place."""
        with self._mutex:
            self._taken = 0

    @contextmanager
    def draining(self) -> Iterator[list[Draft]]:
        """Hand the drafts to a transaction of the caller's; forget them once the block has ended well."""
        with self.writing:
            drafts = self.take()
            try:
                yield drafts
            except BaseException:
                self.keep()
                raise
            self.drop()

    def close(self) -> None:
        """Say nothing more."""
        if self._flusher is not None:
            self._flusher.forget(self)


def write(root_id: UUID, tenant: str, drafts: Sequence[Draft]) -> None:
    """Number and insert events of one run in the caller's transaction; publish them when it commits.

    The counters row of the run is locked until then, so call it last.
    """
    if not drafts:
        return
    first = sql.take_numbers(root_id, len(drafts))
    _insert(root_id, tenant, drafts, first)


def _insert(root_id: UUID, tenant: str, drafts: Sequence[Draft], first: int) -> None:
    rows = [_row(root_id, draft, first + place) for place, draft in enumerate(drafts)]
    sql.insert_events(rows)
    database.after_commit(publish, (tenant, rows))


def insert_first(drafts: Sequence[tuple[str, Draft]]) -> None:
    """Insert the first events of new runs, by tenant; their counters rows count them already."""
    rows = [(tenant, first_row(draft)) for tenant, draft in drafts]
    sql.insert_events([row for _, row in rows])
    for tenant, row in rows:
        database.after_commit(publish, (tenant, [row]))


def first_row(draft: Draft) -> dict[str, Any]:
    """The row of a run's first event, which its root says."""
    return _row(draft.job_id, draft, 1)


def settle_alone(lease: Lease, values: dict[str, Any], drafts: Sequence[Draft]) -> bool:
    """Write a job's last columns and its last events in one statement (PostgreSQL); False if the fence is not ours."""
    rows = [_row(lease.root_id, draft, 0) for draft in drafts]
    first = database.at_once(lambda: sql.settle_alone(lease.job_id, lease.epoch, lease.owner, values, rows))
    return first is not None and _publish_from(first, lease, rows)


def record_step(lease: Lease, step: dict[str, Any], drafts: Sequence[Draft]) -> bool:
    """Write a step and what was said before it in one statement (PostgreSQL); False if the fence is not ours."""
    rows = [_row(lease.root_id, draft, 0) for draft in drafts]
    held, first = database.at_once(lambda: sql.record_step(lease.job_id, lease.epoch, lease.owner, step, rows))
    return held and _publish_from(first, lease, rows)


def _publish_from(first: int, lease: Lease, rows: Sequence[dict[str, Any]]) -> bool:
    for place, row in enumerate(rows):
        row["seq"] = first + place
    if rows:
        publish([(lease.tenant, rows)])
    return True


def _row(root_id: UUID, draft: Draft, seq: int) -> dict[str, Any]:
    return {
        "root_id": root_id,
        "job_id": draft.job_id,
        "seq": seq,
        "type": draft.type,
        "data": draft.data,
        "created_at": draft.time,
    }


def publish(batch: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> None:
    """Tell the bus of committed events: (tenant, rows of one run) each."""
    bus = registry.buses["default"]
    for tenant, rows in batch:
        envelopes = [_envelope(tenant, row) for row in rows]
        bus.publish(tenancy.topic(tenant, rows[0]["root_id"]), envelopes)


def _envelope(tenant: str, row: dict[str, Any]) -> Envelope:
    return Envelope.model_construct(
        seq=row["seq"],
        run=row["root_id"],
        job=row["job_id"],
        tenant=tenant,
        type=row["type"],
        time=row["created_at"],
        data=row["data"],
    )


class Flusher:
    """The thread that commits what the jobs of this process have said."""

    def __init__(self) -> None:
        self._due: dict[Buffer, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def wake(self, buffer: Buffer, *, delay: float = 0.0) -> None:
        """Something was appended: write it after ``delay`` seconds, or a flush interval after the last flush."""
        due = time.monotonic() + delay
        with self._changed:
            if self._due.get(buffer, float("inf")) <= due:
                return
            self._due[buffer] = due
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="ais-flusher", daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, buffer: Buffer) -> None:
        """The attempt is over."""
        with self._changed:
            self._due.pop(buffer, None)

    def stop(self) -> None:
        """End the thread and close its connection; what is still buffered is left to its step or settle."""
        with self._changed:
            self._due.clear()
            self._stopping = True
            self._changed.notify()
            thread, self._thread = self._thread, None
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
            self._changed.wait_for(lambda: self._due or self._stopping)
            while self._due and (pause := max(min(self._due.values()), earliest) - time.monotonic()) > 0:
                self._changed.wait(pause)
            return not self._stopping

    def _flush_due(self) -> None:
        with self._changed:
            buffers, self._due = list(self._due), {}
        # A buffer that is being written already is drained by its step or settle.
        held = [buffer for buffer in buffers if buffer.writing.acquire(blocking=False)]
        try:
            self._flush(held)
        except Exception:  # the loop must outlive whatever one flush met
            logger.exception("events could not be written")
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
            connections.close_all()
            by_run: dict[UUID, list[Buffer]] = defaultdict(list)
            for buffer in buffers:
                by_run[buffer.lease.root_id].append(buffer)
            for run, alone in by_run.items():
                self._flush_alone(run, alone)

    def _flush_alone(self, run: UUID, buffers: Sequence[Buffer]) -> None:
        try:
            flush_together(buffers)
        except (OperationalError, InterfaceError):
            logger.warning("the database takes no events of run %s; they are kept", run, exc_info=True)
            connections.close_all()
            for buffer in buffers:
                self.wake(buffer, delay=AWAY_SECONDS)
        except DatabaseError as error:
            logger.exception("events of run %s could not be written", run)
            connections.close_all()
            for buffer in buffers:
                buffer.take()
                buffer.drop()
                buffer.lease.end(JobError(f"events of job {buffer.lease.job_id} could not be written: {error}"))


def flush_together(buffers: Sequence[Buffer]) -> None:
    """Write several buffers in one commit. The caller holds each one's ``writing``.

    Locks the counters rows in id order, reads the fences in a new statement once it has them, and numbers what still
    may be written. After the commit the buffers are emptied; if it fails they keep everything in order.
    """
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
            rows[lease.tenant, lease.root_id].append(_row(lease.root_id, draft, last[lease.root_id]))
    if rows:
        sql.insert_events([row for run in rows.values() for row in run])
        sql.set_last_numbers({root: last[root] for _, root in rows})
        failpoints.hit("mid_flush")
        for (tenant, _), run in rows.items():
            database.after_commit(publish, (tenant, run))
    return fences


_flushers: dict[int, Flusher] = {}


def flusher() -> Flusher:
    """This process's flusher; a forked child gets its own."""
    return _flushers.setdefault(os.getpid(), Flusher())
