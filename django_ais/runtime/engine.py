"""The one exit door: settle a job, move its parent, advance its workflow, create the next jobs, in one transaction.

Lock order: own job row, its parents' rows upward, the run's counters row last (`journal.write` takes it). The counters
row of a parent below the root is touched only while that parent's job row is locked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

from django_ais import events
from django_ais.models import JobCounters, JobPacket
from django_ais.retry import RetryDecision
from django_ais.runtime import advance, catalog, columns, database, foreach, journal, lifecycle, sql
from django_ais.runtime.journal import Buffer, Draft
from django_ais.runtime.leases import Lease
from django_ais.runtime.lifecycle import FOREACH, WORKFLOW, Values
from django_ais.states import JobStatus


@dataclass
class Moved:
    """What a transaction changed that somebody must hear of after its commit."""

    announce: list[Values] = field(default_factory=list)  # queued jobs
    cascade: list[UUID] = field(default_factory=list)  # parents whose open children are to be cancelled
    ended: list[tuple[UUID, JobStatus]] = field(default_factory=list)
    parked: list[tuple[UUID, str]] = field(default_factory=list)  # jobs that were "retried" or "suspended"
    drafts: list[Draft] = field(default_factory=list)

    def end(self, job: JobPacket, status: JobStatus, error: Values | None = None) -> None:
        """A job became terminal: its event and whoever waits for it."""
        self.drafts.append(lifecycle.ending(job.id, status, is_run=job.worker == WORKFLOW, error=error))
        self.ended.append((job.id, status))


@dataclass
class Attempt:
    """One claim of a job: its row as claimed, its lease, what it said, and what it used."""

    row: JobPacket
    lease: Lease
    buffer: Buffer
    totals: Values = field(default_factory=dict)  # usage columns to write with the next change of status
    has_children: bool = False


Writes = Callable[[Moved], None]
WritesAtOnce = Callable[[Moved, Sequence[Draft]], bool]


def settle(attempt: Attempt, work: Writes, *, at_once: WritesAtOnce | None = None) -> Moved:
    """Run ``work`` in the attempt's closing transaction: what was said before it, and by its hooks, is numbered with
    what it says itself. ``at_once`` is tried first: it does all of it in one statement, or nothing.
    """
    turns = count()

    def whole() -> Moved:
        if next(turns):
            attempt.buffer.take(only=len(pending))  # the transaction runs again: its hooks will say theirs again
        moved = Moved()
        work(moved)
        journal.write(attempt.row.root_id, attempt.row.tenant, [*attempt.buffer.take(), *moved.drafts])
        return moved

    with attempt.buffer.draining() as pending:
        if at_once is not None and at_once(moved := Moved(), pending):
            return moved
        return database.transact(whole)


def succeed(attempt: Attempt, result: Any, on_done: Callable[[], None] | None) -> Moved:
    """End a job well: its result, what ``on_done`` writes, its event and its parent's move, together or not at all."""
    row, values = attempt.row, {"result": result, **attempt.totals}

    def work(moved: Moved) -> None:
        lifecycle.leave(attempt.lease, JobStatus.SUCCEEDED, values)
        if on_done is not None:
            on_done()
        moved.end(row, JobStatus.SUCCEEDED)
        move_parents(row, JobStatus.SUCCEEDED, moved)

    def at_once(moved: Moved, said: Sequence[Draft]) -> bool:
        moved.end(row, JobStatus.SUCCEEDED)
        written, told = lifecycle.left(JobStatus.SUCCEEDED, values), [*said, *moved.drafts]
        if row.parent_id is None:
            return journal.settle_alone(attempt.lease, written, told)
        return journal.settle_child(attempt.lease, written, told, home=lifecycle.HOME_WORKERS)

    is_simple = on_done is None and row.parent_id in (None, row.root_id) and database.can_combine()
    return settle(attempt, work, at_once=at_once if is_simple else None)


def wait_for_children(attempt: Attempt, result: Any, children: Sequence[Values], *, join: str) -> Moved:
    """Record the result so far, create the children that follow from it and park the job until they all have ended.

    With ``join`` ``all_succeeded`` the first child that ends otherwise has the rest cancelled.
    """
    row = attempt.row

    def work(moved: Moved) -> None:
        parked = {"result": result, "phase": "finish", "waiting_on": {"reason": "children", "join": join}}
        lifecycle.leave(attempt.lease, JobStatus.SUSPENDED, {**parked, **attempt.totals})
        open_children = add_children(row, children, moved)
        moved.drafts.append(Draft(row.id, events.JobSuspended(reason="children", children=open_children)))
        moved.parked.append((row.id, "suspended"))
        if open_children == 0:
            _wake(row, moved)

    return settle(attempt, work)


PARKED: Values = {"waiting_on": {"reason": "children"}}


def add_children(parent: JobPacket, children: Sequence[Values], moved: Moved) -> int:
    """Insert children and count the open ones; return how many of the parent's are open now. Its row must be locked."""
    columns.insert(JobCounters, [{"job_id": parent.id}], ending=columns.IGNORE)
    sql.insert_jobs(children)
    queued = [child for child in children if child["status"] == "queued"]
    moved.announce.extend(queued)
    moved.drafts.extend(lifecycle.queued(child) for child in queued)
    return sql.add_open_children(parent.id, sum(not JobStatus(child["status"]).is_terminal for child in children))


def begin_run(attempt: Attempt) -> Moved:
    """Start a workflow's root: it is suspended for as long as the run lasts, and its first jobs are created."""
    row = attempt.row

    def work(moved: Moved) -> None:
        lifecycle.leave(attempt.lease, JobStatus.SUSPENDED, {"phase": "finish", **PARKED})
        row.status = JobStatus.SUSPENDED
        workflow = catalog.pinned(row)
        started = events.RunStarted(workflow=workflow.name, version=workflow.version)
        moved.drafts.append(Draft(row.id, started))
        _advance_run(row, moved)

    return settle(attempt, work)


def fail(
    attempt: Attempt,
    error: BaseException,
    decision: RetryDecision,
    *,
    max_retries: int,
    on_failure: Callable[[], None],
) -> Moved:
    """End an attempt badly: again later, parked for a person, or failed for good.

    A job that has open children is failed only after they are cancelled: terminal is final, and nobody is orphaned.
    """
    row, document = attempt.row, lifecycle.error_document(error)

    def work(moved: Moved) -> None:
        if decision.action == "retry":
            reason = {"reason": "retry", "code": document["code"], "message": document["message"]}
            values = {**lifecycle.again(decision.delay), "retries": row.retries + 1, "waiting_on": reason}
            lifecycle.leave(attempt.lease, JobStatus.QUEUED, {**values, **attempt.totals})
            moved.drafts.append(lifecycle.retried(row, failure=document, delay=decision.delay, max_retries=max_retries))
            moved.announce.append(announced(row, delay=decision.delay))
            moved.parked.append((row.id, "retried"))
        elif decision.action == "suspend":
            reason = {"reason": "exhausted", "code": document["code"], "message": document["message"]}
            values = {"error": document, "waiting_on": reason}
            lifecycle.leave(attempt.lease, JobStatus.SUSPENDED, {**values, **attempt.totals})
            moved.drafts.append(Draft(row.id, events.JobSuspended(reason="exhausted")))
            moved.parked.append((row.id, "suspended"))
        elif attempt.has_children and row.phase == "run":
            _fail_after_children(attempt, document, moved)
        else:
            lifecycle.leave(attempt.lease, JobStatus.FAILED, {"error": document, **attempt.totals})
            on_failure()
            moved.end(row, JobStatus.FAILED, document)
            move_parents(row, JobStatus.FAILED, moved)

    return settle(attempt, work)


def _fail_after_children(attempt: Attempt, document: Values, moved: Moved) -> None:
    values = {"error": document, "phase": "fail", "cancel_children_at": database.now(), **PARKED}
    lifecycle.leave(attempt.lease, JobStatus.SUSPENDED, {**values, **attempt.totals})
    moved.drafts.append(Draft(attempt.row.id, events.JobSuspended(reason="children")))
    moved.parked.append((attempt.row.id, "suspended"))
    moved.cascade.append(attempt.row.id)


def announced(row: JobPacket, *, delay: float = 0.0) -> Values:
    """What the relay needs to know of a job that is queued again."""
    return {"id": row.id, "queue": row.queue, "priority": row.priority, "delay": delay}


def move_parents(child: JobPacket, status: JobStatus, moved: Moved) -> None:
    """Tell a job's parent that the job has ended, and the parent's parent if that ended with it."""
    current, ended = child, status
    while current.parent_id is not None:
        (parent,) = sql.lock_jobs([current.parent_id])
        open_children = sql.add_open_children(parent.id, -1)
        outcome = children_moved(parent, open_children, moved, failed=ended is not JobStatus.SUCCEEDED)
        if outcome is None:
            return
        current, ended = parent, outcome


def children_moved(parent: JobPacket, open_children: int, moved: Moved, *, failed: bool) -> JobStatus | None:
    """Act on a locked parent some of whose children have ended; return its terminal status if it ended too."""
    if parent.status != JobStatus.SUSPENDED:
        return None  # it still runs: its own settle counts the open children
    if parent.worker == WORKFLOW:
        return _advance_run(parent, moved)
    if parent.worker == FOREACH:
        return _gather(parent, open_children, moved, failed=failed)
    if (parent.waiting_on or {}).get("reason") != "children":
        return None  # parked for a person; it counts its children when it goes on
    if open_children == 0:
        _wake(parent, moved)
    elif failed and (parent.waiting_on or {}).get("join") == "all_succeeded":
        cancel_rest(parent, moved)
    return None


def _wake(parent: JobPacket, moved: Moved) -> None:
    values = {**lifecycle.again(0.0), "status": "queued", "waiting_on": None, "cancel_children_at": None}
    if sql.change(parent.id, values, statuses=["suspended"]):
        moved.drafts.append(Draft(parent.id, events.JobResumed(reason="children")))
        moved.announce.append(announced(parent))


def cancel_rest(parent: JobPacket, moved: Moved) -> None:
    """Record that a parent's open children are to be cancelled; that happens in a transaction of its own."""
    if sql.change(parent.id, {"cancel_children_at": database.now()}, statuses=["suspended"]):
        moved.cascade.append(parent.id)


def _advance_run(root: JobPacket, moved: Moved) -> JobStatus | None:
    turn = advance.advance(root)
    if turn.rows:
        add_children(root, turn.rows, moved)
        moved.drafts.extend(turn.drafts)
        for group, items in turn.items:
            add_children(group, items.rows, moved)
            moved.drafts.extend(items.drafts)
            turn.copies.extend(items.copies)
        for before, again in turn.copies:
            sql.copy_steps(before, again)
    if turn.ending is None:
        return None
    return _end_parent(root, turn.ending, moved)


def _gather(group: JobPacket, open_children: int, moved: Moved, *, failed: bool) -> JobStatus | None:
    if failed and group.config["on_item_failure"] == "stop" and open_children and group.cancel_children_at is None:
        cancel_rest(group, moved)
    elif group.cancel_children_at is None and (freed := foreach.next_item(group)) is not None:
        moved.announce.append(freed)
        moved.drafts.append(lifecycle.queued(freed))
    if open_children:
        return None
    return _end_parent(group, foreach.gathered(group), moved)


def _end_parent(parent: JobPacket, ending: Mapping[str, Any], moved: Moved) -> JobStatus:
    status, error = JobStatus(ending["status"]), ending.get("error")
    values = {
        "status": status.value,
        "result": ending.get("result"),
        "error": error,
        "finished_at": database.now(),
        "waiting_on": None,
        "cancel_children_at": None,
    }
    sql.change(parent.id, values, statuses=["suspended"])
    parent.status = status
    moved.end(parent, status, error)
    return status
