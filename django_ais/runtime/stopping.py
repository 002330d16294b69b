"""Ending jobs from outside: cancel, time limits, poison; with everything below them, deepest first.

A running attempt of a job that is ended here finds out at its next renewal, event, step or settle, and can write
nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from django_ais.models import JobPacket
from django_ais.runtime import database, journal, lifecycle, sql
from django_ais.runtime.database import Raw
from django_ais.runtime.engine import Moved, children_moved, move_parents
from django_ais.runtime.lifecycle import WORKFLOW, Values
from django_ais.states import OPEN, JobStatus

OPEN_STATUSES = sorted(status.value for status in OPEN)


def end(
    job_id: UUID,
    status: JobStatus,
    document: Values,
    *,
    still: Callable[[JobPacket], bool] = lambda job: True,
    on_failure: Callable[[JobPacket], None] = lambda job: None,
) -> Moved | None:
    """End an open job as ``cancelled`` or ``failed`` and cancel everything below it, in one transaction.

    ``still`` is asked once the row is locked; None if the job was terminal already or ``still`` says no. ``on_failure``
    is called in the transaction.
    """

    def work() -> Moved | None:
        below, top = _lock_tree(job_id)
        if top is None or top.is_terminal or not still(top):
            return None
        moved = Moved()
        _end_all(below, top, moved)
        _end_one(top, status, document, moved)
        on_failure(top)
        move_parents(top, status, moved)
        journal.write(top.root_id, top.tenant, moved.drafts)
        return moved

    return database.transact(work)


def cancel_children(parent_id: UUID) -> Moved | None:
    """Do a recorded cascade: cancel what is open below a parent and let the parent go on, in one transaction."""

    def work() -> Moved | None:
        locked, parent = _lock_tree(parent_id)
        if parent is None or parent.is_terminal or parent.cancel_children_at is None:
            return None
        moved = Moved()
        below = [job for job in locked if not job.is_terminal]
        _end_all(below, parent, moved)
        sql.change(parent.id, {"cancel_children_at": None}, statuses=OPEN_STATUSES)
        gone = sum(job.parent_id == parent.id for job in below)
        outcome = children_moved(parent, sql.add_open_children(parent.id, -gone), moved, failed=False)
        if outcome is not None:
            move_parents(parent, outcome, moved)
        journal.write(parent.root_id, parent.tenant, moved.drafts)
        return moved

    return database.transact(work)


def _lock_tree(job_id: UUID) -> tuple[list[JobPacket], JobPacket | None]:
    """Lock a job and everything open below it, deepest first; return what is below, and the job.

    Whoever held one of these rows may have used it to create a child. So look again once the locks are held, until
    there is nobody new: under a locked row nobody is born.
    """
    rows: list[JobPacket] = []
    locked: set[UUID] = set()
    while born := {job_id, *_open_below(job_id)} - locked:
        locked |= born
        rows = sql.lock_jobs(list(locked))
    return rows[:-1], rows[-1] if rows else None


def _open_below(job_id: UUID) -> set[UUID]:
    found: set[UUID] = set()
    level = {job_id}
    while level:
        rows = JobPacket.objects.using(database.database()).filter(parent__in=level, status__in=OPEN_STATUSES)
        level = set(rows.values_list("id", flat=True))
        found |= level
    return found


def _end_all(below: Sequence[JobPacket], top: JobPacket, moved: Moved) -> None:
    for job in below:
        if not job.is_terminal:
            _end_one(job, JobStatus.CANCELLED, _because(top), moved)


def _because(top: JobPacket) -> Values:
    return {"code": "cancelled", "message": f"cancelled with {top.type} {top.id}", "type": ""}


def _end_one(job: JobPacket, status: JobStatus, document: Values, moved: Moved) -> None:
    values = {
        **lifecycle.GIVEN_UP,
        "status": status.value,
        "error": document,
        "lease_epoch": Raw("lease_epoch + 1"),
        "finished_at": database.now(),
        "waiting_on": None,
        "cancel_children_at": None,
    }
    if sql.change(job.id, values, statuses=OPEN_STATUSES):
        moved.drafts.append(lifecycle.ending(job.id, status, is_run=job.worker == WORKFLOW, error=document))
        moved.ended.append((job.id, status))
