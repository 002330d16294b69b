"""What must be true once everything has healed: read from the database, the event log and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID

from django.db import connection

from django_ais.conformance.ledger import Ledger
from django_ais.conformance.project.workers import EFFECTS
from django_ais.models import AgentEvent, JobPacket, JobStep

ENDS = {"succeeded": "job.succeeded", "failed": "job.failed"}


def assert_healed(ledger: Ledger, ids: Collection[str], *, poisoned: Collection[str] = ()) -> dict[str, int]:
    """Raise AssertionError with a sentence for each violation; return what may be counted and must not be wrong."""
    checks = (lost(ids, poisoned), effects(ledger, ids), numbering(ids), after_the_end(ids), steps(ids), leases(ids))
    broken = [sentence for check in checks for sentence in check]
    if broken:
        raise AssertionError("\n".join(broken))
    attempts = [line for line in ledger.lines("attempt") if line["job"] in set(ids)]
    return {"jobs": len(ids), "lost": 0, "effects_twice": 0, "attempts_above_one": len(attempts) - len(ids)}


def rows(ids: Collection[str]) -> dict[str, JobPacket]:
    """The jobs, by id."""
    return {str(row.id): row for row in JobPacket.objects.filter(id__in=list(ids))}


def lost(ids: Collection[str], poisoned: Collection[str]) -> Iterator[str]:
    """Every accepted job is there and has ended as it must."""
    found = rows(ids)
    for job_id in ids:
        wanted = "failed" if job_id in poisoned else "succeeded"
        status = found[job_id].status if job_id in found else "gone"
        if status != wanted:
            yield f"lost: job {job_id} is {status} and not {wanted}"


def effects(ledger: Ledger, ids: Collection[str]) -> Iterator[str]:
    """A job that succeeded has its effect once, in the table and in the ledger; one that did not has none."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT job FROM {EFFECTS}")  # noqa: S608 - our own name
        written = Counter(str(job) for (job,) in cursor.fetchall())
    told = Counter(str(line["job"]) for line in ledger.lines("effect"))
    for job_id, row in rows(ids).items():
        wanted = int(row.status == "succeeded")
        if written[job_id] != wanted:
            yield f"effects: job {job_id} is {row.status} and has {written[job_id]} rows"
        if told[job_id] > 1:
            yield f"effects: job {job_id} told of {told[job_id]}"


def numbering(ids: Collection[str]) -> Iterator[str]:
    """The events of a run are 1, 2, ... n without a hole or a repeat."""
    for job_id in ids:
        numbers = list(AgentEvent.objects.filter(root_id=UUID(job_id)).order_by("seq").values_list("seq", flat=True))
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"events: run {job_id} has the numbers {numbers}"


def after_the_end(ids: Collection[str]) -> Iterator[str]:
    """A job says once how it ended, and nothing after."""
    for job_id, row in rows(ids).items():
        said = list(AgentEvent.objects.filter(root_id=UUID(job_id)).order_by("seq").values_list("type", flat=True))
        ends = [kind for kind in said if kind in ENDS.values()]
        if ends != [ENDS.get(row.status)] or said[-1] != ends[0]:
            yield f"after the end: job {job_id} is {row.status} and said {said}"


def steps(ids: Collection[str]) -> Iterator[str]:
    """The result is what the recorded steps say: none was executed again after it had been recorded."""
    for job_id, row in rows(ids).items():
        if row.status == "succeeded" and isinstance(row.result, list):
            recorded = {str(step.output) for step in JobStep.objects.filter(job=row, status="done")}
            if not set(row.result) <= recorded:
                yield f"steps: job {job_id} came to {row.result}, its steps recorded {recorded}"


def leases(ids: Collection[str]) -> Iterator[str]:
    """Nobody holds what has ended."""
    for job_id, row in rows(ids).items():
        if row.lease_owner or row.lease_expires_at is not None:
            yield f"lease left over: job {job_id} is {row.status} and leased until {row.lease_expires_at}"


def snapshot(job_id: str) -> list[Any]:
    """Every row of a job that a stale process could have written."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {EFFECTS} WHERE job = %s", [job_id])  # noqa: S608 - our own name
        count = cursor.fetchone()[0]
    return [
        list(JobPacket.objects.filter(id=job_id).values_list()),
        list(JobStep.objects.filter(job_id=UUID(job_id)).order_by("key").values_list()),
        list(AgentEvent.objects.filter(root_id=UUID(job_id)).order_by("seq").values_list()),
        count,
    ]
