"""The one exit door: what a settle writes lands together, once, and in an order in which nobody waits in a circle."""

from __future__ import annotations

import threading

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from django_ais import jobs, registry
from django_ais.exceptions import LeaseLost
from django_ais.models import AgentEvent, JobCounters
from django_ais.retry import RetryDecision
from django_ais.runtime import database, engine, runner, sql
from django_ais.workers import BaseWorker
from tests.app.models import Effect
from tests.harness.attempts import active, by_hand, claim, fresh, park, told  # noqa: F401
from tests.harness.interleave import Stage, impatient, needs_row_locks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]

CHILDREN = 24
THREADS = 6


@pytest.fixture
def deadlocks(monkeypatch):
    """What the database reported as a deadlock, although the transaction was then retried."""
    reported: list[str] = []
    judge = database._is_deadlock

    def record(error):
        if judge(error):
            reported.append(str(error))
            return True
        return False

    monkeypatch.setattr(database, "_is_deadlock", record)
    return reported


class Breaks(BaseWorker):
    """Writes a row when it is done, and then does what its payload says; writes another when it failed."""

    def run(self, job):
        return "worked"

    def on_done(self, job, result, children):
        Effect.objects.create(job_id=str(job.id), name="done")
        MISHAPS[job.payload]()

    def on_failure(self, job, error):
        Effect.objects.create(job_id=str(job.id), name=f"failed: {error}")
        if job.payload == "both hooks":
            break_the_transaction()


registry.register("breaks", Breaks)


def raise_an_error():
    raise ValueError("no ink")


def break_the_transaction():
    """An error of the database's own: nothing more can be said in this transaction."""
    effect = Effect.objects.create(job_id="twice", name="twice")
    Effect.objects.bulk_create([effect])


def deadlock_once():
    SACRIFICED.append("this transaction")
    if len(SACRIFICED) == 1:
        raise OperationalError("database is locked")


SACRIFICED: list[str] = []
MISHAPS = {
    "error": raise_an_error,
    "database error": break_the_transaction,
    "both hooks": raise_an_error,
    "deadlock": deadlock_once,
}


def effects():
    return sorted(Effect.objects.values_list("name", flat=True))


def handle(job):
    runner.handle(str(job.id))


@pytest.mark.parametrize("on_done", [None, lambda: None], ids=["in one statement", "in a transaction"])
def test_children_that_settle_at_once_wake_their_parent_once(deadlocks, on_done):
    """Many threads settle one parent's children: the counter ends at 0, the parent goes on once, nobody deadlocks."""
    top = jobs.dispatch("effect")
    children = park(claim(top), *["effect"] * CHILDREN)
    lanes = [children[lane::THREADS] for lane in range(THREADS)]
    together = threading.Barrier(THREADS)

    def settle_all(lane):
        together.wait(30)
        for child in lane:
            engine.succeed(claim(child), None, on_done)

    with Stage() as stage:
        for rival in [stage.start(settle_all, lane) for lane in lanes]:
            rival.result()

    assert deadlocks == []
    assert JobCounters.objects.get(job=top).open_children == 0
    assert fresh(top).status == "queued"
    handle(top)
    assert fresh(top).status == "succeeded"
    assert effects() == ["done"]
    assert told(top).count("job.resumed") == 1
    numbers = list(AgentEvent.objects.filter(root=top).order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))


@needs_row_locks
def test_a_child_that_is_not_the_last_settles_in_one_statement():
    """Given a parent of two, when its first child settles, then that is one statement; the last wakes the parent."""
    top = jobs.dispatch("effect")
    first, last = (claim(child) for child in park(claim(top), "effect", "effect"))

    with connection.execute_wrapper(counted := Counted()):
        engine.succeed(first, {"a": 1}, None)

    assert counted.statements == 1
    assert (fresh(first.row).status, fresh(first.row).result, fresh(top).status) == ("succeeded", {"a": 1}, "suspended")
    assert JobCounters.objects.get(job=top).open_children == 1
    engine.succeed(last, None, None)
    assert (fresh(top).status, JobCounters.objects.get(job=top).open_children) == ("queued", 0)


def test_a_child_of_a_parent_that_waits_for_a_person_is_counted_all_the_same():
    """Given a parent that is parked for a person, when its children settle, then they are counted, and it stays."""
    top = jobs.dispatch("effect")
    children = [claim(child) for child in park(claim(top), "effect", "effect")]
    sql.change(top.id, {"waiting_on": {"reason": "exhausted"}}, statuses=["suspended"])

    with connection.execute_wrapper(counted := Counted()):
        engine.succeed(children[0], None, None)
    assert counted.statements > 1, "only a parent that waits for its children is counted down in one statement"
    engine.succeed(children[1], None, None)

    assert (fresh(top).status, JobCounters.objects.get(job=top).open_children) == ("suspended", 0)


@needs_row_locks
def test_a_child_whose_lease_is_lost_settles_nothing():
    """Given a child that somebody else has claimed since, when it settles, then LeaseLost, and nothing was counted."""
    top = jobs.dispatch("effect")
    first, _ = (claim(child) for child in park(claim(top), "effect", "effect"))
    sql.change(first.row.id, {"lease_owner": "somebody else"}, statuses=["running"])

    with pytest.raises(LeaseLost):
        engine.succeed(first, None, None)

    assert JobCounters.objects.get(job=top).open_children == 2
    assert fresh(first.row).status == "running"


class Counted:
    """Counts statements."""

    statements = 0

    def __call__(self, execute, *arguments):
        self.statements += 1
        return execute(*arguments)


def test_a_child_that_settles_while_its_parent_parks_wakes_it():
    """The child waits for its parent's row, and so sees that the parent is suspended now, and that it was the last."""
    top = jobs.dispatch("effect")
    attempt = claim(top)
    child_id = active(attempt).dispatch("echo")
    child = claim(jobs.get(child_id))
    with Stage() as stage:
        parked = stage.before_commit()
        parking = stage.start(lambda: engine.wait_for_children(attempt, None, [], join="all_succeeded"))
        parked.await_reached()
        settling = stage.start(lambda: engine.succeed(child, None, None))
        assert settling.await_blocked()
        parked.open()
        parking.result()
        settling.result()

    assert JobCounters.objects.get(job=top).open_children == 0
    assert fresh(top).status == "queued"


@needs_row_locks
def test_a_cancel_and_a_settle_below_it_do_not_wait_in_a_circle(deadlocks):
    """Both lock children before parents: the cancel waits for the leaf before it touches the middle."""
    top = jobs.dispatch("effect")
    (middle,) = park(claim(top), "echo")
    (leaf,) = park(claim(middle), "echo")
    attempt = claim(leaf)
    with Stage() as stage:
        settling = stage.gate()
        settle = stage.start(lambda: engine.succeed(attempt, None, settling.stop_here))
        settling.await_reached()
        cancel = stage.start(lambda: jobs.cancel(top))
        assert cancel.await_blocked()
        settling.open()
        settle.result()
        cancel.result()

    assert deadlocks == []
    assert [fresh(job).status for job in (top, middle, leaf)] == ["cancelled", "cancelled", "succeeded"]


@needs_row_locks
def test_a_failing_settle_waits_for_no_sibling():
    """A child that fails records the cascade; it does not touch a sibling whose row somebody holds."""
    top = jobs.dispatch("effect")
    bad, busy = park(claim(top), "echo", "effect")
    failing, working = claim(bad), claim(busy)
    with Stage() as stage:
        held = stage.gate()

        def hold():
            with transaction.atomic():
                sql.hold_fenced(working.lease.job_id, working.lease.epoch, working.lease.owner)
                held.stop_here()

        stage.start(hold)
        held.await_reached()
        decision = RetryDecision(action="fail")
        with impatient():
            moved = engine.fail(failing, ValueError("bad"), decision, max_retries=0, on_failure=lambda: None)

    assert moved.cascade == [top.id]
    assert fresh(top).cancel_children_at is not None
    assert fresh(busy).status == "running"


@pytest.mark.parametrize("mishap", ["error", "database error"])
def test_an_error_of_on_done_fails_the_attempt_with_nothing_half_written(mishap):
    """What `on_done` wrote goes with its transaction; the failure is recorded in a fresh one, with `on_failure`."""
    job = jobs.dispatch("breaks", mishap)

    handle(job)

    row = fresh(job)
    assert (row.status, row.result) == ("failed", None)
    assert row.error["code"] == ("ValueError" if mishap == "error" else "IntegrityError")
    assert [name.split(":")[0] for name in effects()] == ["failed"]
    assert told(job) == ["job.queued", "job.started", "job.failed"]


def test_an_error_of_on_failure_cannot_keep_a_job_from_failing():
    """`on_failure` runs in a savepoint: it breaks, its rows go, the job has failed all the same."""
    job = jobs.dispatch("breaks", "both hooks")

    handle(job)

    assert fresh(job).status == "failed"
    assert fresh(job).error["message"] == "no ink"
    assert effects() == []


def test_on_done_runs_again_after_a_deadlock_and_its_rows_are_there_once():
    """A settle that the database sacrificed is repeated as a whole."""
    SACRIFICED.clear()
    job = jobs.dispatch("breaks", "deadlock")

    handle(job)

    assert len(SACRIFICED) == 2
    assert fresh(job).status == "succeeded"
    assert effects() == ["done"]
    assert told(job) == ["job.queued", "job.started", "job.succeeded"]


def test_a_commit_whose_answer_was_lost_is_not_settled_twice(monkeypatch):
    """The settle is committed and the connection breaks before we hear of it: the fence tells, the job stays done."""
    job = jobs.dispatch("effect")
    settle = engine.settle
    lost = iter([True])

    def settle_and_lose_the_answer(*arguments, **more):
        moved = settle(*arguments, **more)
        if next(lost, False):
            raise OperationalError("server closed the connection unexpectedly")
        return moved

    monkeypatch.setattr(engine, "settle", settle_and_lose_the_answer)
    handle(job)

    assert next(lost, None) is None
    assert fresh(job).status == "succeeded"
    assert effects() == ["done"]
    assert told(job).count("job.succeeded") == 1


def test_the_database_error_above_is_one():
    """The mishap really is an error of the database's own."""
    with pytest.raises(IntegrityError):
        break_the_transaction()
