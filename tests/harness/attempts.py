"""Attempts in a test's own hands: claimed, but run by no thread of ours, so that each write is one line of a test."""

from __future__ import annotations

from typing import Any

import pytest

from django_ais.models import AgentEvent, JobCounters, JobPacket, JobStep
from django_ais.runtime import database, engine, lifecycle, relay, sql
from django_ais.runtime.active import RunningJob
from django_ais.runtime.engine import Attempt
from django_ais.runtime.flushing import Flusher
from django_ais.runtime.journal import Buffer
from django_ais.workers import BaseWorker

NOBODY_TAKES = {
    "QUEUES": {"default": "database"},  # dispatching rings, and nobody listens
    "BUSES": {"default": "memory"},
    "GATEWAYS": {"default": "scripted"},
}


@pytest.fixture
def by_hand(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job runs and no sweep happens unless the test says so."""
    settings.DJANGO_AIS = NOBODY_TAKES
    monkeypatch.setattr(relay.sweeper, "start", lambda: None)


def claim(job: Any, *, flusher: Flusher | None = None) -> Attempt:
    """Claim a job, as a process that has no heartbeat and (unless given) no flusher."""
    claimed = lifecycle.claim(job.id, alone=True)
    assert claimed is not None, f"{fresh(job)} could not be claimed"
    row, lease = claimed
    return Attempt(row, lease, Buffer(lease, flusher=flusher))


def active(attempt: Attempt, worker: BaseWorker | None = None) -> RunningJob:
    """The job as its worker's hooks would hold it."""
    return RunningJob(attempt, worker or BaseWorker(), heard=lambda moved: None)


def park(attempt: Attempt, *types: str, join: str = "all_succeeded") -> list[JobPacket]:
    """Give a job a child of each type, suspend it, and return the children in their order."""
    held = active(attempt)
    for place, type in enumerate(types):
        held.dispatch(type, key=str(place))
    engine.wait_for_children(attempt, {"so far": True}, [], join=join)
    children = {row.id: row for row in JobPacket.objects.filter(parent=attempt.row.id)}
    steps = JobStep.objects.filter(job=attempt.row.id).order_by("key").values_list("output", flat=True)
    return [next(row for row in children.values() if str(row.id) == (output or {})["job"]) for output in steps]


def expire(job: Any) -> None:
    """Let a job's lease run out by the database's clock; its holder does not know."""
    assert sql.change(job.id, {"lease_expires_at": database.now(-1)}, statuses=["running"])


def fresh(job: Any) -> Any:
    """The row as it is committed now."""
    return JobPacket.objects.get(id=job.id)


def told(run: Any) -> list[str]:
    """The types of a run's events in order; their numbers are 1, 2, 3, ... or this fails."""
    rows = list(AgentEvent.objects.filter(root=run.id).order_by("seq").values_list("seq", "type"))
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    assert JobCounters.objects.get(job=run.id).last_seq == len(rows)
    return [type for _, type in rows]


def picture(job: Any) -> dict[str, Any]:
    """Everything that is stored of a job and below it."""
    return {
        "jobs": list(JobPacket.objects.filter(root=job.id).order_by("id").values()),
        "counters": list(JobCounters.objects.order_by("job_id").values()),
        "events": list(AgentEvent.objects.filter(root=job.id).order_by("seq").values()),
        "steps": list(JobStep.objects.filter(job__root=job.id).order_by("id").values()),
    }
