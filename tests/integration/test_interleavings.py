"""Two processes meet on one row. Each interleaving here went wrong on PostgreSQL before its rule was written.

`test_mutations.py` takes each rule away and sees its test here fail.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from django.db import OperationalError, connection, transaction

from django_ais import jobs, registry
from django_ais.exceptions import LeaseLost
from django_ais.models import JobCounters, JobPacket, JobStep
from django_ais.runtime import database, engine, flushing, overdue, relay, runner, sql
from django_ais.workers import BaseWorker
from tests.app.models import Effect
from tests.harness.attempts import active, by_hand, claim, expire, fresh, told  # noqa: F401
from tests.harness.interleave import Stage, impatient, needs_one_writer, needs_row_locks
from tests.harness.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]


@registry.register("one-step")
class OneStep(BaseWorker):
    """Takes one step, whose executions are the application's rows."""

    def run(self, job):
        job.log("about to act")
        return job.step("act", lambda: act(str(job.id), job.attempt))


@registry.register("one-child")
class OneChild(BaseWorker):
    """Dispatches one child."""

    def run(self, job):
        job.log("about to dispatch")
        return str(job.dispatch("echo"))


def act(job_id, attempt):
    Effect.objects.create(job_id=job_id, name=f"attempt {attempt}")
    return attempt


def executions():
    return list(Effect.objects.order_by("id").values_list("name", flat=True))


def held_numbers(stage, run):
    """Hold the counters row of a run until the gate opens, as a neighbour that commits slowly does."""
    gate = stage.gate()

    def hold():
        with transaction.atomic():
            sql.lock_counters([run.id])
            gate.stop_here()

    stage.start(hold)
    gate.await_reached()
    return gate


@needs_row_locks
def test_who_claims_while_a_step_is_written_sees_the_step():
    """A step holds its job's row before it writes: the new owner's claim waits, then finds the step done."""
    job = jobs.dispatch("one-step")
    old = claim(job)
    expire(job)
    with Stage() as stage:
        numbers = held_numbers(stage, job)
        writing = stage.start(lambda: OneStep().run(active(old)))
        assert writing.await_blocked()
        new = stage.start(lambda: runner.handle(str(job.id)))
        until(lambda: new.waits or len(executions()) > 1, what="a claim that waits")
        numbers.open()
        writing.result()
        new.result()

    assert executions() == ["attempt 1"]
    assert fresh(job).status == "succeeded"
    assert JobStep.objects.get(job=job).output == 1


@needs_row_locks
def test_who_claims_while_a_child_is_inserted_sees_the_child():
    """A child's insertion holds the parent's row: the new owner's claim waits, and takes the same child."""
    job = jobs.dispatch("one-child")
    old = claim(job)
    expire(job)
    with Stage() as stage:
        numbers = held_numbers(stage, job)
        inserting = stage.start(lambda: OneChild().run(active(old)))
        assert inserting.await_blocked()
        new = stage.start(lambda: active(claim(job)).ledger.known().keys())
        new.await_blocked()
        numbers.open()
        inserting.result()

    assert new.result() == {"child:echo"}
    assert JobPacket.objects.filter(parent=job).count() == 1
    assert JobCounters.objects.get(job=job).open_children == 1


def test_a_settle_that_waits_for_a_claim_loses():
    """The old owner's settle waits for the row that a new owner is just claiming; then the fence is not its own."""
    job = jobs.dispatch("effect")
    old = claim(job)
    expire(job)
    with Stage() as stage:
        claimed = stage.gate()

        def take_over():
            with transaction.atomic():
                attempt = claim(job)
                claimed.stop_here()
            return attempt

        new = stage.start(take_over)
        claimed.await_reached()
        late = stage.start(lambda: engine.succeed(old, "late", None))
        assert late.await_blocked()
        claimed.open()
        with pytest.raises(LeaseLost):
            late.result()

    assert fresh(job).lease_owner == new.result().lease.owner
    assert told(job) == ["job.queued"]


def test_a_flush_that_waits_for_a_cancel_writes_nothing_after_it():
    """The fences are read in a statement of their own once the counters row is held: no event follows a terminal one.

    In one statement with the wait, the job would be seen as it was before it: still running.
    """
    job = jobs.dispatch("effect")
    attempt = claim(job)
    active(attempt).log("late")
    with Stage() as stage:
        cancelled = stage.before_commit()
        cancel = stage.start(lambda: jobs.cancel(job))
        cancelled.await_reached()
        flush = stage.start(lambda: flushing.flush_together([attempt.buffer]))
        assert flush.await_blocked()
        cancelled.open()
        cancel.result()
        flush.result()

    assert told(job) == ["job.queued", "job.cancelled"]


@needs_row_locks
def test_a_dispatch_in_a_long_transaction_locks_nothing_that_others_want(caplog):
    """While a caller's transaction stays open after a dispatch, everybody else's work goes on."""
    relay.Sweeper()._round()  # what a dispatch could lock is there
    running = claim(jobs.dispatch("effect"))
    active(running).log("meanwhile")
    with Stage() as stage:
        dispatched = stage.gate()

        def long_transaction():
            with transaction.atomic():
                job = jobs.dispatch("effect", idempotency_key="long")
                jobs.dispatch("effect", {"second": True})
                jobs.dispatch_many("effect", [1, 2])
                dispatched.stop_here()
            return job

        caller = stage.start(long_transaction)
        dispatched.await_reached()
        with impatient():
            other = jobs.dispatch("effect", idempotency_key="other")
            flushing.flush_together([running.buffer])
            active(running).step("meanwhile", lambda: 1)
            engine.succeed(running, None, None)
            database.transact(lambda: overdue.elect("sweep", "another process", 1.0))
            relay.sweep()
            runner.handle(str(other.id))
            jobs.cancel(jobs.dispatch("effect"))
        assert not caller.is_done
        dispatched.open()
        late = caller.result()

    assert [record for record in caplog.records if record.name.startswith("django_ais")] == []
    assert fresh(other).status == "succeeded"
    assert fresh(late).status == "queued"


@needs_row_locks
def test_a_heartbeat_passes_over_a_row_that_its_own_settle_holds():
    """One job's slow settle does not keep the other leases of the process from being renewed."""
    slow, other = claim(jobs.dispatch("effect")), claim(jobs.dispatch("effect"))
    with Stage() as stage:
        settling = stage.gate()
        settle = stage.start(lambda: engine.succeed(slow, None, settling.stop_here))
        settling.await_reached()
        leases = [slow.lease, other.lease]
        with impatient():
            renewed = sql.renew([lease.job_id for lease in leases], [lease.owner for lease in leases], 100.0)
        assert not settle.is_done
        settling.open()
        settle.result()

    assert renewed == {other.row.id}
    assert fresh(slow.row).status == "succeeded"


@needs_one_writer
def test_a_transaction_that_reads_first_is_not_overtaken_by_a_writer():
    """SQLite fails a transaction at once that reads, and wants to write after somebody else did: ours write first."""
    job = jobs.dispatch("effect")
    refused: list[str] = []

    def work():
        status = fresh(job).status
        refused.append(write_from_another_process())
        sql.change(job.id, {"attempt": 7}, statuses=[status])

    database.transact(work)

    assert refused == ["database is locked"]
    assert fresh(job).attempt == 7


def write_from_another_process():
    """Try to write at once, as a process does that does not share our writer lock; the error's words, or none."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0, isolation_level=None)) as other:
        try:
            other.execute("UPDATE django_ais_jobpacket SET priority = priority + 1")
        except sqlite3.OperationalError as error:
            return str(error)
    return ""


@needs_row_locks
def test_a_deadlock_is_retried_as_a_whole():
    """Two transactions of ours lock two rows crosswise; the one that the database sacrifices runs again."""
    one, other = jobs.dispatch("effect"), jobs.dispatch("effect")
    runs: list[str] = []
    with Stage() as stage:
        first_has_one, second_has_other = stage.gate(), stage.gate()

        def crosswise(name, mine, gate, yours):
            def work():
                runs.append(name)
                sql.change(mine.id, {"priority": 1}, statuses=["queued"])
                gate.stop_here()
                sql.change(yours.id, {"priority": 2}, statuses=["queued"])

            database.transact(work)

        first = stage.start(lambda: crosswise("first", one, first_has_one, other))
        second = stage.start(lambda: crosswise("second", other, second_has_other, one))
        first_has_one.await_reached()
        second_has_other.await_reached()
        first_has_one.open()
        second_has_other.open()
        first.result()
        second.result()

    assert len(runs) > 2
    assert set(runs) == {"first", "second"}
    assert {fresh(one).priority, fresh(other).priority} <= {1, 2}


def test_a_deadlock_in_a_callers_transaction_is_the_callers():
    """Inside `atomic` nothing is retried: what the caller did before in it would be missing."""
    calls: list[int] = []
    with pytest.raises(OperationalError, match="database is locked"), transaction.atomic():
        database.at_once(lambda: raise_a_deadlock(calls))

    assert calls == [1]


def raise_a_deadlock(calls):
    calls.append(1)
    raise OperationalError("database is locked")
