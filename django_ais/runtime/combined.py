"""What belongs together in one statement, and so in one round trip without BEGIN and COMMIT (PostgreSQL).

The parts depend on each other by ``EXISTS``, so rows are locked in the order of the text, and nothing is written unless
all is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django_ais.models import AgentEvent, JobCounters, JobPacket
from django_ais.runtime import sql
from django_ais.runtime.columns import assignments, insertion
from django_ais.runtime.database import Raw, execute, job_ids, placeholders, query, table

EventRows = Sequence[Mapping[str, Any]]


def insert_run(
    job: Mapping[str, Any], counters: Mapping[str, Any], event: Mapping[str, Any], *, notify: tuple[str, str] | None
) -> None:
    """Insert a root, its counters and its first event, in one statement, which also notifies a channel with a text
    (PostgreSQL).
    """
    ending = "" if notify is None else " RETURNING pg_notify(%s, %s)"
    parts = [
        insertion(JobPacket, [job]),
        insertion(JobCounters, [counters]),
        insertion(AgentEvent, [event], ending=ending),
    ]
    text = f"WITH job AS ({parts[0].text}), counters AS ({parts[1].text}) {parts[2].text}"
    execute(text, [*(value for part in parts for value in part.params), *(notify or ())])


def settle_alone(job_id: UUID, epoch: int, owner: str, values: Mapping[str, Any], events: EventRows) -> int | None:
    """Write a running job's columns under its fence with the events that tell of it, in one statement (PostgreSQL).

    Returns the number of the first event; None if the fence is not ours any more.
    """
    sets, root = assignments(values), job_ids([events[0]["root_id"]])[0]
    name, rows = table(JobPacket), _numbered_later(events)
    found = query(
        f"WITH ours AS (UPDATE {name} SET {sets.text}"
        " WHERE id = %s AND lease_epoch = %s AND lease_owner = %s AND status = 'running' RETURNING id),"
        f" numbered AS (UPDATE {table(JobCounters)} SET last_seq = last_seq + %s"
        " WHERE job_id = %s AND EXISTS (SELECT 1 FROM ours) RETURNING last_seq),"
        f" told AS ({rows.text})"
        " SELECT last_seq FROM numbered",
        [*sets.params, *job_ids([job_id]), epoch, owner, len(events), root, *rows.params],
    )
    return int(found[0][0]) - len(events) + 1 if found else None


def settle_child(
    job_id: UUID, epoch: int, owner: str, values: Mapping[str, Any], events: EventRows, *, home: Sequence[str]
) -> int | None:
    """Write a running job's columns under its fence, count it off the run's root, whose child it is, and tell of it, in
    one statement (PostgreSQL).

    Returns the number of the first event. None, and nothing is written, if the fence is not ours any more, or more is
    to be done than to count: it is the last open child, or the parent runs, is parked for something else, or is one of
    ``home``, which move on with each child. Locks the job's row, its parent's and the counters row, in this order.
    """
    sets, root = assignments(values), job_ids([events[0]["root_id"]])[0]
    name, rows = table(JobPacket), _numbered_later(events)
    found = query(
        f"WITH held AS (SELECT id FROM {name}"
        " WHERE id = %s AND lease_epoch = %s AND lease_owner = %s AND status = 'running' FOR NO KEY UPDATE),"
        f" parent AS (SELECT id FROM {name} WHERE id = %s AND status = 'suspended'"
        f" AND waiting_on ->> 'reason' = 'children' AND worker NOT IN ({placeholders(home)})"
        " AND EXISTS (SELECT 1 FROM held) FOR NO KEY UPDATE),"
        f" numbered AS (UPDATE {table(JobCounters)} SET open_children = open_children - 1, last_seq = last_seq + %s"
        " WHERE job_id = %s AND open_children > 1 AND EXISTS (SELECT 1 FROM parent) RETURNING last_seq),"
        f" ours AS (UPDATE {name} SET {sets.text} WHERE id = %s AND EXISTS (SELECT 1 FROM numbered)),"
        f" told AS ({rows.text})"
        " SELECT last_seq FROM numbered",
        [*job_ids([job_id]), epoch, owner, root, *home, len(events), root, *sets.params, *job_ids([job_id]),
         *rows.params],
    )  # fmt: skip
    return int(found[0][0]) - len(events) + 1 if found else None


def record_step(job_id: UUID, epoch: int, owner: str, step: Mapping[str, Any], events: EventRows) -> tuple[bool, int]:
    """Insert a step under its job's fence with the events said before it, in one statement (PostgreSQL).

    Returns whether the fence is ours, and the number of the first event. The job's row is held FOR SHARE: see
    `sql.hold_fenced`.
    """
    saved = sql.upsertion(step, source="held")
    parts = [
        f"WITH held AS (SELECT id FROM {table(JobPacket)}"
        " WHERE id = %s AND lease_epoch = %s AND lease_owner = %s AND status = 'running' FOR SHARE)",
        f"step AS ({saved.text})",
    ]
    params = [*job_ids([job_id]), epoch, owner, *saved.params]
    last = "NULL"
    if events:
        rows = _numbered_later(events)
        parts.append(
            f"numbered AS (UPDATE {table(JobCounters)} SET last_seq = last_seq + %s"
            " WHERE job_id = %s AND EXISTS (SELECT 1 FROM held) RETURNING last_seq)"
        )
        parts.append(f"told AS ({rows.text})")
        params += [len(events), *job_ids([events[0]["root_id"]]), *rows.params]
        last = "(SELECT last_seq FROM numbered)"
    found = query(f"{', '.join(parts)} SELECT count(*), {last} FROM held", params)
    return bool(found[0][0]), int(found[0][1] or 0) - len(events) + 1


def _numbered_later(events: EventRows) -> Raw:
    """INSERT events whose ``seq`` counts up to the ``last_seq`` of a CTE named ``numbered``; none if it is empty."""
    behind = [{**row, "seq": Raw("last_seq - %s", (len(events) - 1 - place,))} for place, row in enumerate(events)]
    return insertion(AgentEvent, behind, source="numbered")
