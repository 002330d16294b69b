"""Why a job is not running, in one sentence that a tired person understands."""

from __future__ import annotations

from datetime import datetime, timedelta

from django_ais import conf
from django_ais.models import JobPacket
from django_ais.runtime import database, lifecycle
from django_ais.runtime.sql import SUSPECT_AFTER


def explain(job: JobPacket) -> str:
    """What the job is doing or waiting for, and what would move it."""
    tell = {
        "queued": _queued,
        "running": _running,
        "suspended": _suspended,
    }.get(job.status, _ended)
    return f"{job.type} {job.id} {tell(job)}"


def _queued(job: JobPacket) -> str:
    now, waiting = database.moment(), job.waiting_on or {}
    if job.run_after > now:
        why = f" after {waiting['code']}: {waiting['message']}" if waiting.get("reason") == "retry" else ""
        return f"waits until {_when(job.run_after)} (in {_for(job.run_after - now)}){why}."
    if job.queue not in conf.current().queues:
        return f"waits in queue '{job.queue}', which QUEUES does not have: add the alias, or nobody will run it."
    if job.worker not in lifecycle.runnable():
        return f"needs worker '{job.worker}', which is not registered here; a worker process that knows it will run it."
    if job.deliveries >= SUSPECT_AFTER:
        return f"was claimed {job.deliveries} times by worker processes that died; it waits for one that is idle."
    return f"is due since {_for(now - job.run_after)} and waits for a worker process on queue '{job.queue}' to be free."


def _running(job: JobPacket) -> str:
    now, end = database.moment(), job.lease_expires_at
    if end is not None and end < now:
        return f"ran in a worker process that has not answered for {_for(now - end)}; the next sweep queues it again."
    begun = f", for {_for(now - job.started_at)}" if job.started_at else ""
    return f"is running (attempt {job.attempt}{begun})."


def _suspended(job: JobPacket) -> str:
    waiting = job.waiting_on or {}
    reason = waiting.get("reason")
    if reason == "children":
        return f"waits for {_children(job)}."
    if reason == "limit":
        return "waits for its turn: its foreach runs a limited number of items at once."
    if reason == "in_doubt":
        return f"waits for a person: {waiting.get('message')} Then: jobs.resume(job), or jobs.cancel(job)."
    if reason == "exhausted":
        why = f"{waiting.get('code')}: {waiting.get('message')}"
        return f"has used up its retries ({why}). Mend the cause; then jobs.resume(job), or jobs.cancel(job)."
    return f"is suspended ({reason}); jobs.resume(job) lets it go on."


def _children(job: JobPacket) -> str:
    open_ones = JobPacket.objects.using(database.database()).filter(
        parent=job, status__in=["queued", "running", "suspended"]
    )
    names = [f"{child.workflow_job or child.type} ({child.status})" for child in open_ones[:4]]
    more = " and others" if len(names) == 4 else ""
    return f"{', '.join(names[:3])}{more}" if names else "the sweep to go on: all its children have ended"


def _ended(job: JobPacket) -> str:
    when = f" {_for(database.moment() - job.finished_at)} ago" if job.finished_at else ""
    if job.status == "skipped":
        return f"was skipped{when}: {(job.waiting_on or {}).get('reason', 'no reason recorded')}."
    if job.error:
        return f"{_ended_as(job)}{when}: {job.error.get('code')}: {job.error.get('message')}"
    return f"{_ended_as(job)}{when}."


def _ended_as(job: JobPacket) -> str:
    return "was cancelled" if job.status == "cancelled" else job.status


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _for(duration: timedelta) -> str:
    seconds = max(duration.total_seconds(), 0.0)
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
