"""The statements of the runtime, each with a name and a sentence.

They run without instance ``save()``, signals or a read of what was just written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.utils import timezone

from django_ais.models import AgentEvent, Election, JobCounters, JobPacket, JobStep
from django_ais.runtime.database import (
    IGNORE,
    Raw,
    as_uuid,
    assignments,
    database,
    execute,
    insert,
    is_postgres,
    job_ids,
    jobs,
    now,
    placeholders,
    query,
    table,
)

SUSPECT_AFTER = 2  # claims that ended with a dead process; from then on a job runs alone


# -- claiming and leases ---------------------------------------------------------------------------------------------


def _claimed(owner: str, lease_seconds: float) -> Raw:
    moment = now()
    return assignments(
        {
            "status": "running",
            "attempt": Raw("attempt + 1"),
            "deliveries": Raw("deliveries + 1"),
            "lease_epoch": Raw("lease_epoch + 1"),
            "lease_owner": owner,
            "lease_expires_at": now(lease_seconds),
            "started_at": Raw(f"COALESCE(started_at, {moment.text})", moment.params),
            "waiting_on": None,
            "start_by_at": None,
        }
    )


def claim(
    job_id: UUID, *, owner: str, lease_seconds: float, workers: Sequence[str], most_deliveries: int
) -> JobPacket | None:
    """Take one job: due and queued, or running under a lease that has expired; None if it is neither.

    ``workers`` are the names this process can run, ``most_deliveries`` the claims without a settle it accepts.
    """
    sets, moment = _claimed(owner, lease_seconds), now()
    rows = jobs(
        f"UPDATE {table(JobPacket)} SET {sets.text} WHERE id = %s AND deliveries < %s"
        f" AND (status = 'queued' AND run_after <= {moment.text}"
        f"      OR status = 'running' AND lease_expires_at <= {moment.text})"
        f" AND worker IN ({placeholders(workers)}) RETURNING *",
        [*sets.params, *job_ids([job_id]), most_deliveries, *moment.params, *moment.params, *workers],
    )
    return rows[0] if rows else None


def claim_due(
    queue: str, *, owner: str, lease_seconds: float, workers: Sequence[str], most_deliveries: int, limit: int
) -> list[JobPacket]:
    """Take up to ``limit`` due jobs of a queue in one statement, the most urgent first; rows others hold are passed
    over.
    """
    sets, moment = _claimed(owner, lease_seconds), now()
    name = table(JobPacket)
    skip = " FOR NO KEY UPDATE SKIP LOCKED" if is_postgres() else ""
    once = "MATERIALIZED " if is_postgres() else ""
    rows = jobs(
        f"WITH due AS {once}(SELECT id FROM {name}"
        f" WHERE status = 'queued' AND queue = %s AND run_after <= {moment.text}"
        f" AND deliveries < %s AND worker IN ({placeholders(workers)})"
        f" ORDER BY priority DESC, run_after, id LIMIT %s{skip})"
        f" UPDATE {name} SET {sets.text} WHERE id IN (SELECT id FROM due) RETURNING *",
        [queue, *moment.params, most_deliveries, *workers, limit, *sets.params],
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
    return (rows[0] - timezone.now()).total_seconds() if rows else None


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


# -- fenced writes ---------------------------------------------------------------------------------------------------


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
    """Lock jobs for change, deepest first, then by id; return them as they are once the locks are held."""
    found = JobPacket.objects.using(database()).filter(id__in=ids).order_by("-depth", "id")
    if is_postgres():
        list(found.select_for_update(no_key=True).values_list("id", flat=True))
    return list(found)


def insert_jobs(rows: Sequence[Mapping[str, Any]], *, ending: str = "") -> int:
    """Insert jobs; return how many."""
    return insert(JobPacket, rows, ending=ending)


def copy_steps(old: UUID, new: UUID) -> None:
    """Give a job the finished steps of another, so that it does not execute them again."""
    done = JobStep.objects.using(database()).filter(job_id=old, status="done").exclude(kind="child")
    names = [field.attname for field in JobStep._meta.concrete_fields if not field.primary_key]
    insert(JobStep, [{**row, "job_id": new} for row in done.values(*names)])


def allow_repeat(job_id: UUID) -> None:
    """A person has looked: steps whose outcome a crash has hidden may be tried again."""
    JobStep.objects.using(database()).filter(job_id=job_id, status="intended").update(status="unknown")


def upsert_step(row: Mapping[str, Any]) -> None:
    """Insert a step, or take the place of one that is not done; its usage is added to what an earlier try was
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
    insert(JobStep, [row], ending=f" ON CONFLICT (job_id, key) DO UPDATE SET {sets}, {sums}")


# -- counting and numbering ------------------------------------------------------------------------------------------


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


def insert_events(rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert numbered events."""
    insert(AgentEvent, rows)


# -- what the sweep looks for
# --------------------------------------------------------------------------------------------

ROUND = 200  # rows of one kind that one round acts on


def lease_expired(epoch: int) -> Raw:
    """The condition that a lease with this epoch has run out."""
    moment = now()
    return Raw(f"lease_epoch = %s AND lease_expires_at <= {moment.text}", (epoch, *moment.params))


def expired_leases() -> list[JobPacket]:
    """Running jobs whose lease has run out: their worker process is gone."""
    moment = now()
    return jobs(
        f"SELECT * FROM {table(JobPacket)}"
        f" WHERE status = 'running' AND lease_expires_at <= {moment.text} LIMIT {ROUND}",
        moment.params,
    )


def past_limits() -> list[JobPacket]:
    """Open jobs whose time is over: waiting for their first claim, or as a whole."""
    moment = now()
    name = table(JobPacket)
    return jobs(
        f"SELECT * FROM (SELECT * FROM {name}"
        f" WHERE status = 'queued' AND start_by_at <= {moment.text} LIMIT {ROUND}) waiting"
        f" UNION SELECT * FROM (SELECT * FROM {name} WHERE status IN ('queued', 'running', 'suspended')"
        f" AND expires_at <= {moment.text} LIMIT {ROUND}) late",
        [*moment.params, *moment.params],
    )


def recorded_cascades() -> list[JobPacket]:
    """Parents whose open children are still to be cancelled."""
    return list(
        JobPacket.objects.using(database())
        .filter(cancel_children_at__isnull=False)
        .order_by("cancel_children_at")[:ROUND]
    )


def take_unannounced(first_wait: float) -> list[JobPacket]:
    """Queued jobs to announce now; each is looked at again after a wait that doubles, up to an hour."""
    name, moment, end = table(JobPacket), now(), now(first_wait)
    skip = " FOR NO KEY UPDATE SKIP LOCKED" if is_postgres() else ""
    due = query(
        f"SELECT id, announcements FROM {name} WHERE status = 'queued' AND announce_at <= {moment.text}"
        f" ORDER BY announce_at LIMIT 500{skip}",
        moment.params,
    )
    by_wait: dict[int, list[UUID]] = {}
    for job_id, announcements in due:
        by_wait.setdefault(min(announcements, 6), []).append(as_uuid(job_id))
    for doublings, ids in by_wait.items():
        end = now(min(first_wait * 2**doublings, 3600.0))
        execute(
            f"UPDATE {name} SET announcements = announcements + 1, announce_at = {end.text}"
            f" WHERE id IN ({placeholders(ids)})",
            [*end.params, *job_ids(ids)],
        )
    return list(JobPacket.objects.using(database()).filter(id__in=[as_uuid(row[0]) for row in due])) if due else []


def announce_now(ids: Sequence[UUID]) -> None:
    """Let the next sweep announce these jobs: the queue did not take their messages."""
    moment = now()
    execute(
        f"UPDATE {table(JobPacket)} SET announce_at = {moment.text}"
        f" WHERE status = 'queued' AND id IN ({placeholders(ids)})",
        [*moment.params, *job_ids(ids)],
    )


def next_announcement() -> float | None:
    """Seconds until a queued job is to be announced; None if there is none."""
    rows = (
        JobPacket.objects.using(database()).filter(status="queued", announce_at__isnull=False).order_by("announce_at")
    )
    first = rows.values_list("announce_at", flat=True).first()
    return None if first is None else (first - timezone.now()).total_seconds()


# -- duties ----------------------------------------------------------------------------------------------------------


def elect(duty: str, owner: str, seconds: float) -> bool:
    """Become, or stay, the one process that does a duty for the next ``seconds``."""
    moment, end = now(), now(seconds)
    name = table(Election)
    insert(Election, [{"duty": duty, "owner": "", "expires_at": now(-1)}], ending=IGNORE)
    return (
        execute(
            f"UPDATE {name} SET owner = %s, expires_at = {end.text}"
            f" WHERE duty = %s AND (owner = %s OR expires_at <= {moment.text})",
            [owner, *end.params, duty, owner, *moment.params],
        )
        == 1
    )
