"""The statements of the runtime, each with a name and a sentence.

They run without instance ``save()``, signals or a read of what was just written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django_ais.models import AgentEvent, JobCounters, JobPacket, JobStep
from django_ais.runtime.columns import assignments, insert, insertion, job_columns
from django_ais.runtime.database import (
    Raw,
    as_uuid,
    can_combine,
    database,
    execute,
    is_postgres,
    job_ids,
    moment,
    now,
    placeholders,
    query,
    table,
)
from django_ais.runtime.rows import jobs

SUSPECT_AFTER = 2  # claims that ended with a dead process; from then on a job runs alone


def _claimed(owner: str, lease_seconds: float) -> Raw:
    instant = now()
    return assignments(
        {
            "status": "running",
            "attempt": Raw("attempt + 1"),
            "deliveries": Raw("deliveries + 1"),
            "lease_epoch": Raw("lease_epoch + 1"),
            "lease_owner": owner,
            "lease_expires_at": now(lease_seconds),
            "started_at": Raw(f"COALESCE(started_at, {instant.text})", instant.params),
            "waiting_on": None,
            "start_by_at": None,
        }
    )


def _unhurried() -> str:
    """A condition that is true, and has the statement's own transaction not wait for the disk (PostgreSQL).

    If the server crashes in the next moment a claim may be forgotten: the job is delivered again, and the fence refuses
    whoever had it. What that attempt has recorded by then was waited for, and what came before it on the disk with it.
    """
    return " AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'" if can_combine() else ""


def claim(
    job_id: UUID, *, owner: str, lease_seconds: float, workers: Sequence[str], most_deliveries: int
) -> JobPacket | None:
    """Take one job: due and queued, or running under a lease that has expired; None if it is neither.

    ``workers`` are the names this process can run, ``most_deliveries`` the claims without a settle it accepts.
    """
    sets, instant = _claimed(owner, lease_seconds), now()
    rows = jobs(
        f"UPDATE {table(JobPacket)} SET {sets.text} WHERE id = %s AND deliveries < %s"
        f" AND (status = 'queued' AND run_after <= {instant.text}"
        f"      OR status = 'running' AND lease_expires_at <= {instant.text})"
        f" AND worker IN ({placeholders(workers)}){_unhurried()} RETURNING {job_columns()}",
        [*sets.params, *job_ids([job_id]), most_deliveries, *instant.params, *instant.params, *workers],
    )
    return rows[0] if rows else None


def claim_due(
    queue: str, *, owner: str, lease_seconds: float, workers: Sequence[str], most_deliveries: int, limit: int
) -> list[JobPacket]:
    """Take up to ``limit`` due jobs of a queue in one statement, the most urgent first; rows others hold are passed
    over.
    """
    sets, instant = _claimed(owner, lease_seconds), now()
    name = table(JobPacket)
    skip = " FOR NO KEY UPDATE SKIP LOCKED" if is_postgres() else ""
    once = "MATERIALIZED " if is_postgres() else ""
    rows = jobs(
        f"WITH due AS {once}(SELECT id FROM {name}"
        f" WHERE status = 'queued' AND queue = %s AND run_after <= {instant.text}"
        f" AND deliveries < %s AND worker IN ({placeholders(workers)})"
        f" ORDER BY priority DESC, run_after, id LIMIT %s{skip})"
        f" UPDATE {name} SET {sets.text} WHERE id IN (SELECT id FROM due){_unhurried()} RETURNING {job_columns()}",
        [queue, *instant.params, most_deliveries, *workers, limit, *sets.params],
    )
    return sorted(rows, key=lambda job: (-job.priority, job.run_after, job.id))


def next_due(queue: str) -> float | None:
    """Seconds until the next queued job of a queue is due; None if none waits. Negative: one is due now."""
    rows = (
        JobPacket.objects.using(database())
        .filter(status="queued", queue=queue)
        .order_by("run_after")
        .values_list("run_after", flat=True)[:1]
    )
    return (rows[0] - moment()).total_seconds() if rows else None


def renew(ids: Sequence[UUID], owners: Sequence[str], lease_seconds: float) -> set[UUID]:
    """Extend leases; return the jobs whose lease was extended.

    A row locked by its own settle is passed over, so that it cannot stall the others.
    """
    end = now(lease_seconds)
    name = table(JobPacket)
    where = f"id IN ({placeholders(ids)}) AND lease_owner IN ({placeholders(owners)}) AND status = 'running'"
    params = [*job_ids(ids), *owners]
    if is_postgres():
        where = f"id IN (SELECT id FROM {name} WHERE {where} FOR NO KEY UPDATE SKIP LOCKED)"
    rows = query(f"UPDATE {name} SET lease_expires_at = {end.text} WHERE {where} RETURNING id", [*end.params, *params])
    return {as_uuid(row[0]) for row in rows}


def write_fenced(job_id: UUID, epoch: int, owner: str, values: Mapping[str, Any]) -> bool:
    """Write a running job's columns if this lease still owns it. The fence is a condition on the row that is locked."""
    sets = assignments(values)
    return (
        execute(
            f"UPDATE {table(JobPacket)} SET {sets.text}"
            " WHERE id = %s AND lease_epoch = %s AND lease_owner = %s AND status = 'running'",
            [*sets.params, *job_ids([job_id]), epoch, owner],
        )
        == 1
    )


def hold_fenced(job_id: UUID, epoch: int, owner: str) -> bool:
    """Keep everybody else from changing the job until this transaction ends, if this lease still owns it.

    A step, a child or a reservation is written after this: with a mere ``WHERE EXISTS`` a new owner could claim, see no
    step and run it, and the old step would land after.
    """
    share = " FOR SHARE" if is_postgres() else ""
    return bool(
        query(
            f"SELECT 1 FROM {table(JobPacket)}"
            f" WHERE id = %s AND lease_epoch = %s AND lease_owner = %s AND status = 'running'{share}",
            [*job_ids([job_id]), epoch, owner],
        )
    )


def change(job_id: UUID, values: Mapping[str, Any], *, statuses: Sequence[str], where: Raw | None = None) -> bool:
    """Write columns of a job that nobody holds a lease for, if its status is one of these and ``where`` holds."""
    sets = assignments(values)
    more = f" AND {where.text}" if where else ""
    return (
        execute(
            f"UPDATE {table(JobPacket)} SET {sets.text} WHERE id = %s AND status IN ({placeholders(statuses)}){more}",
            [*sets.params, *job_ids([job_id]), *statuses, *(where.params if where else ())],
        )
        == 1
    )


def lock_jobs(ids: Sequence[UUID]) -> list[JobPacket]:
    """Lock jobs for change, deepest first, then by id; return them as they are once the locks are held.

    (A locking SELECT that had to wait gives the row as it became, so it is not read again.)
    """
    found = JobPacket.objects.using(database()).filter(id__in=ids).order_by("-depth", "id")
    return list(found.select_for_update(no_key=True) if is_postgres() else found)


def insert_jobs(rows: Sequence[Mapping[str, Any]], *, ending: str = "") -> int:
    """Insert jobs; return how many."""
    return insert(JobPacket, rows, ending=ending)


def copy_steps(old: UUID, new: UUID) -> None:
    """Give a job the finished steps of another, so that it does not execute them again."""
    done = JobStep.objects.using(database()).filter(job_id=old, status="done").exclude(kind="child")
    names = [field.attname for field in JobStep._meta.concrete_fields if not field.primary_key]
    own = {"job_id": new, "input_tokens": 0, "output_tokens": 0, "cost": 0}  # the other job was charged
    insert(JobStep, [{**row, **own} for row in done.values(*names)])


def allow_repeat(job_id: UUID) -> None:
    """A person has looked: steps whose outcome a crash has hidden may be tried again."""
    JobStep.objects.using(database()).filter(job_id=job_id, status="intended").update(status="unknown")


def upsert_step(row: Mapping[str, Any]) -> None:
    """Insert a step; see `upsertion`."""
    execute(*upsertion(row))


def upsertion(row: Mapping[str, Any], *, source: str = "") -> Raw:
    """The INSERT of a step, or take the place of one that is not done; its usage is added to what an earlier try was
    charged.
    """
    name = table(JobStep)
    sets = ", ".join(
        f"{column} = EXCLUDED.{column}"
        for column in ("kind", "status", "fingerprint", "output", "error", "finished_at")
    )
    sums = ", ".join(
        f"{column} = {name}.{column} + EXCLUDED.{column}" for column in ("input_tokens", "output_tokens", "cost")
    )
    # WHERE true: without it "ON" after a SELECT could be read as a join's.
    ending = f"{' WHERE true' if source else ''} ON CONFLICT (job_id, key) DO UPDATE SET {sets}, {sums}"
    return insertion(JobStep, [row], ending=ending, source=source)


def add_open_children(parent: UUID, delta: int) -> int:
    """Count a parent's open children up or down; return how many are open now. The parent's row must be locked."""
    rows = query(
        f"UPDATE {table(JobCounters)} SET open_children = open_children + %s WHERE job_id = %s RETURNING open_children",
        [delta, *job_ids([parent])],
    )
    return int(rows[0][0])


def take_numbers(root: UUID, count: int) -> int:
    """Reserve the next ``count`` event numbers of a run; return the first. Locks the run's counters row until
    commit.
    """
    rows = query(
        f"UPDATE {table(JobCounters)} SET last_seq = last_seq + %s WHERE job_id = %s RETURNING last_seq",
        [count, *job_ids([root])],
    )
    return int(rows[0][0]) - count + 1


def lock_counters(roots: Sequence[UUID]) -> dict[UUID, int]:
    """Lock the counters rows of several runs in id order; return each one's last number."""
    found = JobCounters.objects.using(database()).filter(job_id__in=roots).order_by("job_id")
    if is_postgres():
        found = found.select_for_update(no_key=True)
    return dict(found.values_list("job_id", "last_seq"))


def set_last_numbers(numbers: Mapping[UUID, int]) -> None:
    """Store the last numbers of runs whose counters rows are locked."""
    cases = " ".join(["WHEN %s THEN %s"] * len(numbers))
    ids = job_ids(list(numbers))
    cast = "::uuid" if is_postgres() else ""
    params = [value for pair in zip(ids, numbers.values(), strict=True) for value in pair]
    execute(
        f"UPDATE {table(JobCounters)} SET last_seq = CASE job_id {cases.replace('WHEN %s', f'WHEN %s{cast}')}"
        f" ELSE last_seq END WHERE job_id IN ({placeholders(ids)})",
        [*params, *ids],
    )


def fences(ids: Sequence[UUID]) -> dict[UUID, tuple[int, str, str]]:
    """The fence and status of jobs: (epoch, owner, status) by id. Read in a statement of its own, after the locks."""
    rows = JobPacket.objects.using(database()).filter(id__in=ids)
    return {row[0]: row[1:] for row in rows.values_list("id", "lease_epoch", "lease_owner", "status")}


def has_event(root: UUID, job_id: UUID, moment: datetime, kind: str, data: Mapping[str, Any]) -> bool:
    """Whether a job has said just this at this moment."""
    said = AgentEvent.objects.using(database()).filter(root_id=root, job_id=job_id, created_at=moment, type=kind)
    return any(found == data for found in said.values_list("data", flat=True))


def insert_events(rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert numbered events."""
    insert(AgentEvent, rows)
