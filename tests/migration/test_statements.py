"""Written SQL against the migrated tables: every statement is run once, so each column that it names is there."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from django_ais.models import AgentEvent, JobCounters, JobPacket, JobStep
from django_ais.retry import JobConfig
from django_ais.runtime import columns, combined, database, lifecycle, overdue, sql
from django_ais.runtime.columns import IGNORE

pytestmark = pytest.mark.django_db(databases="__all__")

JOB = uuid.UUID(int=7)
FENCE = (JOB, 1, "owner")


def job() -> dict[str, Any]:
    return lifecycle.new_job(id=JOB, type="echo", worker="echo", payload={"a": 1}, config={}, limits=JobConfig())


def event(seq: int = 1) -> dict[str, Any]:
    made = {"type": "job.progress", "data": {"current": 1}, "created_at": timezone.now()}
    return {"root_id": JOB, "job_id": JOB, "seq": seq, **made}


def step(key: str = "look") -> dict[str, Any]:
    made = {"kind": "step", "status": "done", "fingerprint": "0" * 64, "output": [1]}
    return {"job_id": JOB, "key": key, **made, "created_at": database.now(), "finished_at": database.now()}


STATEMENTS: dict[Callable[..., Any], Callable[[], Any]] = {
    sql.insert_jobs: lambda: sql.insert_jobs([job()], ending=IGNORE),
    combined.insert_run: lambda: combined.insert_run(
        job(), {"job_id": JOB, "last_seq": 1}, event(), notify=("ais_due", "q")
    ),
    sql.insert_events: lambda: sql.insert_events([event(), event(2)]),
    sql.claim: lambda: sql.claim(JOB, owner="a", lease_seconds=5, workers=["echo"], most_deliveries=3),
    sql.claim_due: lambda: sql.claim_due(
        "default", owner="a", lease_seconds=5, workers=["echo", "effect"], most_deliveries=3, limit=5
    ),
    sql.next_due: lambda: sql.next_due("default"),
    sql.renew: lambda: sql.renew([JOB], ["a", "b"], 5),
    sql.write_fenced: lambda: sql.write_fenced(*FENCE, {"status": "succeeded", "finished_at": database.now()}),
    sql.hold_fenced: lambda: sql.hold_fenced(*FENCE),
    combined.settle_alone: lambda: combined.settle_alone(
        *FENCE, {"status": "succeeded", "result": {"a": 1}}, [event(), event()]
    ),
    combined.settle_child: lambda: combined.settle_child(*FENCE, {"status": "succeeded"}, [event()], home=["a", "b"]),
    combined.record_step: lambda: combined.record_step(*FENCE, step(), [event(), event()]),
    sql.upsert_step: lambda: twice(sql.upsert_step, step()),
    sql.change: lambda: sql.change(JOB, {"status": "queued"}, statuses=["running"], where=overdue.lease_expired(1)),
    sql.lock_jobs: lambda: sql.lock_jobs([JOB]),
    sql.copy_steps: lambda: sql.copy_steps(JOB, uuid.UUID(int=8)),
    sql.allow_repeat: lambda: sql.allow_repeat(JOB),
    sql.add_open_children: lambda: [with_counters(), sql.add_open_children(JOB, 1)],
    sql.take_numbers: lambda: [with_counters(), sql.take_numbers(JOB, 3)],
    sql.lock_counters: lambda: sql.lock_counters([JOB]),
    sql.set_last_numbers: lambda: sql.set_last_numbers({JOB: 3, uuid.UUID(int=8): 4}),
    sql.fences: lambda: sql.fences([JOB]),
    sql.has_event: lambda: sql.has_event(JOB, JOB, database.moment(), "job.queued", {}),
    overdue.expired_leases: overdue.expired_leases,
    overdue.past_limits: overdue.past_limits,
    overdue.recorded_cascades: overdue.recorded_cascades,
    overdue.take_unannounced: lambda: (sql.insert_jobs([job()]), overdue.take_unannounced(0.0)),
    overdue.announce_now: lambda: overdue.announce_now([JOB]),
    overdue.put_off: lambda: overdue.put_off([JOB], 2.0),
    overdue.next_announcement: overdue.next_announcement,
    overdue.elect: lambda: (overdue.elect("sweep", "a", 5), overdue.elect("sweep", "b", 5)),
    overdue.make_due: lambda: overdue.make_due(),
}
PIECES = {"upsertion", "lease_expired"}  # parts of statements: they run nothing by themselves
POSTGRESQL_ALONE = {combined.insert_run, combined.settle_alone, combined.settle_child, combined.record_step}


def twice(statement: Callable[..., Any], *arguments: Any) -> None:
    for _ in range(2):
        statement(*arguments)


def with_counters() -> int:
    return columns.insert(JobCounters, [{"job_id": JOB}])


def is_postgres() -> bool:
    return connections[database.database()].vendor == "postgresql"


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.__name__)
def test_a_statement_names_nothing_that_is_not_there(statement):
    """Given the migrated tables, when the statement is run, then this database knows every table and column in it."""
    if statement in POSTGRESQL_ALONE and not is_postgres():
        pytest.skip("a statement for PostgreSQL alone")

    with connections[database.database()].execute_wrapper(remember := Remember()):
        STATEMENTS[statement]()

    assert remember.count


class Remember:
    """Counts the statements that were run."""

    count = 0

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.count += 1
        return execute(*arguments)


def public(module: ModuleType) -> set[Callable[..., Any]]:
    functions = inspect.getmembers(module, inspect.isfunction)
    return {made for name, made in functions if made.__module__ == module.__name__ and name[0] != "_"}


@pytest.mark.parametrize("module", [sql, combined, overdue])
def test_every_statement_is_run_here(module):
    """Given the modules of written SQL, when their functions are counted, then each has a line in this file."""
    missing = {made.__name__ for made in public(module) - set(STATEMENTS)} - PIECES

    assert missing == set()


@pytest.mark.parametrize("model", [JobPacket, JobCounters, AgentEvent, JobStep])
def test_a_table_has_the_columns_of_its_model_in_the_database_of_jobs(model):
    """Given the migrated tables, when described by the database, then they have their model's columns and no others."""
    using = connections[database.database()]
    with using.cursor() as cursor:
        described = using.introspection.get_table_description(cursor, model._meta.db_table)

    assert {column.name for column in described} == {field.column for field in model._meta.concrete_fields}
