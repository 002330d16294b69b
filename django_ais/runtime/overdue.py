"""What a sweep looks for: statements that find rows whose time has come or gone. See `sql` for the hot ones."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django_ais.models import Election, JobPacket
from django_ais.runtime.columns import IGNORE, insert, job_columns
from django_ais.runtime.database import (
    Raw,
    as_uuid,
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

ROUND = 200  # rows of one kind that one round acts on


def lease_expired(epoch: int) -> Raw:
    """The condition that a lease with this epoch has run out."""
    instant = now()
    return Raw(f"lease_epoch = %s AND lease_expires_at <= {instant.text}", (epoch, *instant.params))


def expired_leases() -> list[JobPacket]:
    """Running jobs whose lease has run out: their worker process is gone."""
    instant = now()
    return jobs(
        f"SELECT {job_columns()} FROM {table(JobPacket)}"
        f" WHERE status = 'running' AND lease_expires_at <= {instant.text} LIMIT {ROUND}",
        instant.params,
    )


def past_limits() -> list[JobPacket]:
    """Open jobs whose time is over: waiting for their first claim, or as a whole."""
    instant, whole = now(), job_columns()
    name = table(JobPacket)
    return jobs(
        f"SELECT {whole} FROM (SELECT {whole} FROM {name}"
        f" WHERE status = 'queued' AND start_by_at <= {instant.text} LIMIT {ROUND}) waiting"
        f" UNION SELECT {whole} FROM (SELECT {whole} FROM {name} WHERE status IN ('queued', 'running', 'suspended')"
        f" AND expires_at <= {instant.text} LIMIT {ROUND}) late",
        [*instant.params, *instant.params],
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
    name, instant = table(JobPacket), now()
    skip = " FOR NO KEY UPDATE SKIP LOCKED" if is_postgres() else ""
    due = query(
        f"SELECT id, announcements FROM {name} WHERE status = 'queued' AND announce_at <= {instant.text}"
        f" ORDER BY announce_at LIMIT 500{skip}",
        instant.params,
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
    instant = now()
    execute(
        f"UPDATE {table(JobPacket)} SET announce_at = {instant.text}"
        f" WHERE status = 'queued' AND id IN ({placeholders(ids)})",
        [*instant.params, *job_ids(ids)],
    )


def put_off(ids: Sequence[UUID], seconds: float) -> None:
    """The queue did not take what the sweep announced: that does not count, and it is tried again after a while."""
    later = now(seconds)
    execute(
        f"UPDATE {table(JobPacket)} SET announce_at = {later.text}, announcements = announcements - 1"
        f" WHERE status = 'queued' AND announcements > 0 AND id IN ({placeholders(ids)})",
        [*later.params, *job_ids(ids)],
    )


def next_announcement() -> float | None:
    """Seconds until a queued job is to be announced; None if there is none."""
    rows = (
        JobPacket.objects.using(database()).filter(status="queued", announce_at__isnull=False).order_by("announce_at")
    )
    first = rows.values_list("announce_at", flat=True).first()
    return None if first is None else (first - moment()).total_seconds()


def elect(duty: str, owner: str, seconds: float) -> bool:
    """Become, or stay, the one process that does a duty for the next ``seconds``."""
    instant, end = now(), now(seconds)
    name = table(Election)
    insert(Election, [{"duty": duty, "owner": "", "expires_at": now(-1)}], ending=IGNORE)
    return (
        execute(
            f"UPDATE {name} SET owner = %s, expires_at = {end.text}"
            f" WHERE duty = %s AND (owner = %s OR expires_at <= {instant.text})",
            [owner, *end.params, duty, owner, *instant.params],
        )
        == 1
    )


def make_due() -> None:
    """Make every wait of a queued job over, and every lease expired: for tests, where nobody else runs anything."""
    past = now(-1)
    name = table(JobPacket)
    execute(f"UPDATE {name} SET run_after = {past.text} WHERE status = 'queued'", past.params)
    execute(
        f"UPDATE {name} SET status = 'queued', run_after = {past.text}, lease_owner = '', lease_epoch = lease_epoch + 1"
        " WHERE status = 'running'",
        past.params,
    )
