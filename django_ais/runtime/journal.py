"""The only writer of events: buffer, coalesce, number, insert, publish after commit. Only under a valid lease.

A job appends to its `Buffer`, which touches no database. The process's flusher writes what all its jobs have said in
one commit, at most every ``EVENT_FLUSH_MS``; a step's outcome and a settle drain the job's own buffer in their own
transaction, so that what is recorded and what was said agree.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID

from django_ais import conf, registry, tenancy
from django_ais.events import DELTA_TYPES, Envelope, Event
from django_ais.runtime import combined, database, sql
from django_ais.runtime.leases import Lease
from django_ais.values import sanitised, shortened


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


class Waker(Protocol):
    """Who writes buffers by and by."""

    def wake(self, buffer: Buffer, *, delay: float = 0.0) -> None:
        """Something was appended."""
        ...

    def forget(self, buffer: Buffer) -> None:
        """The attempt is over."""
        ...


class Buffer:
    """What one attempt has said and nobody has written yet. `append` may be called from any thread.

    ``writing`` is held by whoever writes the buffer: the flusher, a step or the settle, one at a time.
    """

    def __init__(self, lease: Lease, *, flusher: Waker | None) -> None:
        self.lease = lease
        self.writing = threading.Lock()
        self._drafts: list[Draft] = []
        self._taken = 0
        self._doubtful = 0  # how many were in a write that failed: it may have been committed all the same
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
            open_drafts = len(self._drafts) > max(self._taken, self._doubtful)
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
            self._taken = self._doubtful = 0

    def keep(self) -> None:
        """Leave what was taken for the next time, in its place; whether it was written is in doubt."""
        with self._mutex:
            self._doubtful = max(self._doubtful, self._taken)
            self._taken = 0

    def settle_doubt(self) -> None:
        """Forget what a write that failed has committed all the same. Only while holding ``writing``.

        A connection may break between the commit and its answer. What was written together is there or not together, so
        its first event tells; looked for once the run's counters row is held, which the broken transaction held too.
        """
        if not self._doubtful:
            return
        root, first = self.lease.root_id, self._drafts[0]
        said = (first.job_id, first.time, first.type, first.data)
        landed = database.transact(lambda: bool(sql.lock_counters([root])) and sql.has_event(root, *said))
        with self._mutex:
            if landed:
                del self._drafts[: self._doubtful]
            self._doubtful = 0

    @contextmanager
    def draining(self) -> Iterator[list[Draft]]:
        """Hand the drafts to a transaction of the caller's; forget them once the block has ended well."""
        with self.writing:
            self.settle_doubt()
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
    rows = [event_row(root_id, draft, first + place) for place, draft in enumerate(drafts)]
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
    return event_row(draft.job_id, draft, 1)


def settle_alone(lease: Lease, values: dict[str, Any], drafts: Sequence[Draft]) -> bool:
    """Write a job's last columns and its last events in one statement (PostgreSQL); False if the fence is not ours."""
    rows = [event_row(lease.root_id, draft, 0) for draft in drafts]
    first = database.at_once(lambda: combined.settle_alone(lease.job_id, lease.epoch, lease.owner, values, rows))
    return first is not None and _publish_from(first, lease, rows)


def settle_child(lease: Lease, values: dict[str, Any], drafts: Sequence[Draft], *, home: Sequence[str]) -> bool:
    """`settle_alone` for a child of the run's root where it has to be counted off and no more (PostgreSQL)."""
    rows = [event_row(lease.root_id, draft, 0) for draft in drafts]
    first = database.at_once(
        lambda: combined.settle_child(lease.job_id, lease.epoch, lease.owner, values, rows, home=home)
    )
    return first is not None and _publish_from(first, lease, rows)


def record_step(lease: Lease, step: dict[str, Any], drafts: Sequence[Draft]) -> bool:
    """Write a step and what was said before it in one statement (PostgreSQL); False if the fence is not ours."""
    rows = [event_row(lease.root_id, draft, 0) for draft in drafts]
    held, first = database.at_once(lambda: combined.record_step(lease.job_id, lease.epoch, lease.owner, step, rows))
    return held and _publish_from(first, lease, rows)


def _publish_from(first: int, lease: Lease, rows: Sequence[dict[str, Any]]) -> bool:
    for place, row in enumerate(rows):
        row["seq"] = first + place
    if rows:
        publish([(lease.tenant, rows)])
    return True


def event_row(root_id: UUID, draft: Draft, seq: int) -> dict[str, Any]:
    """The row of an event."""
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
        topic = tenancy.topic(tenant, rows[0]["root_id"])
        if bus.wants(topic):
            bus.publish(topic, [_envelope(tenant, row) for row in rows])


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
