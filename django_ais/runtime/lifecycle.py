"""Every change of one job's status: one conditional UPDATE on its fence, and its event.

Functions here run inside a transaction of the caller's (`database.transact`) unless they say otherwise, and return the
drafts of the events that tell of the change: the caller numbers them last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django_ais import conf, events, registry
from django_ais.exceptions import LeaseLost
from django_ais.models import JobCounters, JobPacket
from django_ais.retry import JobConfig
from django_ais.runtime import columns, combined, database, journal, sql
from django_ais.runtime.database import Raw
from django_ais.runtime.journal import Draft
from django_ais.runtime.leases import INLINE_LEASE_SECONDS, Lease, new_owner
from django_ais.states import TERMINAL, JobStatus
from django_ais.values import sanitised

WORKFLOW = "ais.workflow"  # the worker of a workflow's root
FOREACH = "ais.foreach"  # the worker of a job that gathers the items of a foreach
BUILT_IN = (WORKFLOW,)  # workers that every process can run; a FOREACH is never claimed
HOME_WORKERS: tuple[str, ...] = BUILT_IN

Values = dict[str, Any]


def uuid7() -> UUID:
    """A time-ordered id (RFC 9562): 48 bits of milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0b10 << 62)


def new_job(
    *,
    type: str,
    worker: str,
    payload: Any,
    config: Mapping[str, Any],
    limits: JobConfig,
    tenant: str = "",
    user_id: Any = None,
    queue: str = "default",
    priority: int = 0,
    run_after: datetime | None = None,
    **more: Any,
) -> Values:
    """The columns of a queued root; `child_of` makes it a child."""
    job_id = more.pop("id", None) or uuid7()
    again_at = run_after or database.now(conf.current().announce_again_seconds)
    start_by = None if limits.queue_timeout is None else _later(run_after, limits.queue_timeout)
    expires = None if limits.total_timeout is None else database.now(limits.total_timeout)
    return {
        "id": job_id,
        "root_id": job_id,
        "type": type,
        "worker": worker,
        "status": "queued",
        "payload": payload,
        "config": dict(config),
        "tenant": tenant,
        "user_id": user_id,
        "queue": queue,
        "priority": priority,
        "created_at": database.now(),
        "run_after": run_after or database.now(),
        "announce_at": again_at,
        "start_by_at": start_by,
        "expires_at": expires,
        **more,
    }


def _later(due: datetime | None, seconds: float) -> datetime | Raw:
    """So many seconds after a job is due."""
    return database.now(seconds) if due is None else max(due, database.moment()) + database.seconds(seconds)


def child_of(parent: JobPacket, job: Values) -> Values:
    """The columns of a job as a child of another: same run, tenant and user."""
    return {
        **job,
        "parent_id": parent.id,
        "root_id": parent.root_id,
        "depth": parent.depth + 1,
        "tenant": parent.tenant,
        "user_id": parent.user_id,
        "workflow_id": parent.workflow_id,
    }


def queued(job: Values) -> Draft:
    """The event of a job that was created."""
    return Draft(
        job["id"],
        events.JobQueued(
            job_type=job["type"],
            queue=job["queue"],
            parent=job.get("parent_id"),
            workflow_job=job.get("workflow_job"),
            item=job.get("item"),
        ),
    )


def create_roots(jobs: Sequence[Values]) -> None:
    """Insert roots with their counters and their first event. Locks no row that anybody else could want."""
    sql.insert_jobs(jobs)
    columns.insert(JobCounters, [_counters(job) for job in jobs])
    journal.insert_first([(job["tenant"], queued(job)) for job in jobs])


def create_root(job: Values, *, wake_up: Callable[[str], tuple[str, str] | None]) -> None:
    """Insert one root, as `create_roots` does, in the caller's transaction or else in one of its own.

    ``wake_up``: what to notify for a queue where that can ride along (`DueJobs.wake_up`).
    """
    if database.can_combine():
        event = journal.first_row(queued(job))
        notify = wake_up(job["queue"])
        database.at_once(lambda: combined.insert_run(job, _counters(job), event, notify=notify))
        journal.publish([(job["tenant"], [event])])
    elif database.is_in_transaction():
        create_roots([job])
    else:
        database.transact(lambda: create_roots([job]))


def _counters(job: Values) -> Values:
    return {"job_id": job["id"], "last_seq": 1}


def create_once(job: Values) -> bool:
    """Insert a root unless its idempotency key is taken; the caller's transaction survives either way."""
    if not sql.insert_jobs([job], ending=columns.IGNORE):
        return False
    columns.insert(JobCounters, [_counters(job)])
    journal.insert_first([(job["tenant"], queued(job))])
    return True


def runnable() -> tuple[str, ...]:
    """The worker names that this process can run."""
    return (*HOME_WORKERS, *registry.workers())


def claim(job_id: UUID, *, alone: bool, inline: bool = False) -> tuple[JobPacket, Lease] | None:
    """Take a job, in a transaction of its own; None if somebody else has it, it is not due, or this process cannot run
    it.

    A job whose worker processes died twice is taken only by a process that does nothing else (``alone``).
    """
    owner, seconds, instant = new_owner(), _lease_seconds(inline), time.monotonic()
    most = conf.current().max_deliveries
    row = database.at_once(
        lambda: sql.claim(
            job_id,
            owner=owner,
            lease_seconds=seconds,
            workers=runnable(),
            most_deliveries=most if alone else min(sql.SUSPECT_AFTER, most),
        )
    )
    return None if row is None else (row, lease_of(row, instant + seconds))


def claim_due(queue: str, *, limit: int, alone: bool, inline: bool = False) -> list[tuple[JobPacket, Lease]]:
    """Take up to ``limit`` due jobs of a queue in one commit."""
    owner, seconds, instant = new_owner(), _lease_seconds(inline), time.monotonic()
    most = conf.current().max_deliveries
    rows = database.at_once(
        lambda: sql.claim_due(
            queue,
            owner=owner,
            lease_seconds=seconds,
            workers=runnable(),
            most_deliveries=most if alone else min(sql.SUSPECT_AFTER, most),
            limit=limit,
        )
    )
    return [(row, lease_of(row, instant + seconds)) for row in rows]


def _lease_seconds(inline: bool) -> float:
    return INLINE_LEASE_SECONDS if inline else conf.current().lease_seconds


def lease_of(row: JobPacket, expires: float) -> Lease:
    """The lease that a claim gave."""
    return Lease(
        job_id=row.id,
        root_id=row.root_id,
        tenant=row.tenant,
        epoch=row.lease_epoch,
        owner=row.lease_owner,
        attempt=row.attempt,
        expires=expires,
    )


GIVEN_UP: Values = {"lease_owner": "", "lease_expires_at": None, "deliveries": 0}


def leave(lease: Lease, status: JobStatus, values: Values) -> None:
    """Move a running job on under its fence; raises `LeaseLost` if the fence is not ours any more."""
    if not sql.write_fenced(lease.job_id, lease.epoch, lease.owner, left(status, values)):
        raise LeaseLost(f"job {lease.job_id} belongs to somebody else now")


def left(status: JobStatus, values: Values) -> Values:
    """The columns of a job that an attempt moves on."""
    if status in TERMINAL:
        values = {**values, "finished_at": database.now(), "waiting_on": None}
    return {**GIVEN_UP, **values, "status": status.value}


def again(delay: float) -> Values:
    """The columns of a job that becomes queued, due after ``delay`` seconds."""
    return {
        "run_after": database.now(delay),
        "announce_at": database.now(delay or conf.current().announce_again_seconds),
        "announcements": 0,
        "lease_epoch": Raw("lease_epoch + 1"),
    }


def retried(row: JobPacket, *, failure: Values, delay: float, max_retries: int) -> Draft:
    """The event of an attempt that failed and will be tried again."""
    return Draft(
        row.id,
        events.JobRetried(
            attempt=row.attempt,
            code=failure["code"],
            message=failure["message"],
            delay=round(delay, 3),
            retry=row.retries + 1,
            max_retries=max_retries,
        ),
    )


def release(lease: Lease) -> bool:
    """Give a claimed job back, without an attempt, in a transaction of its own (drain). The next sweep announces it."""
    values = {
        **GIVEN_UP,
        **again(0.0),
        "announce_at": database.now(),
        "attempt": Raw("attempt - 1"),
        "deliveries": Raw("deliveries - 1"),
        "status": "queued",
    }
    return database.at_once(lambda: sql.write_fenced(lease.job_id, lease.epoch, lease.owner, values))


def resume(row: JobPacket, reason: str) -> Values | None:
    """Queue a suspended job again; None if it is not as it was. What a crash has hidden may be tried again."""
    values = {**again(0.0), "status": "queued", "waiting_on": None, "error": None, "retries": 0}
    if not sql.change(row.id, values, statuses=["suspended"], where=Raw("lease_epoch = %s", (row.lease_epoch,))):
        return None
    sql.allow_repeat(row.id)
    journal.write(row.root_id, row.tenant, [Draft(row.id, events.JobResumed(reason=reason))])
    return {"id": row.id, "queue": row.queue, "priority": row.priority}


def error_document(error: BaseException, *, kind: str = "") -> Values:
    """What is stored and told of an error. The message is for people and holds no traceback."""
    code = str(getattr(error, "code", None) or type(error).__name__)
    text = str(getattr(error, "safe_message", None) or error) or type(error).__name__
    return {
        "code": sanitised(code)[:100],
        "message": sanitised(text)[:2000],
        "type": kind or getattr(error, "recorded_type", "") or f"{type(error).__module__}.{type(error).__qualname__}",
    }


def ending(
    job_id: UUID, status: JobStatus, *, is_run: bool, error: Values | None = None, reused: bool = False
) -> Draft:
    """The terminal event of a job; a workflow's root speaks as its run."""
    failure = {"code": (error or {}).get("code", "failed"), "message": (error or {}).get("message", "")}
    kinds: dict[JobStatus, tuple[Any, Any, Values]] = {
        JobStatus.SUCCEEDED: (events.JobSucceeded, events.RunSucceeded, {"reused": True} if reused else {}),
        JobStatus.FAILED: (events.JobFailed, events.RunFailed, failure),
        JobStatus.CANCELLED: (events.JobCancelled, events.RunCancelled, {"reason": (error or {}).get("message")}),
    }
    job_event, run_event, data = kinds[status]
    return Draft(job_id, run_event(**data) if is_run else job_event(**data))
