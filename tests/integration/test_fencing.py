"""The fence is the pair (lease_epoch, lease_owner): a process that lost its lease can write nothing more."""

from __future__ import annotations

import pytest

from django_ais import jobs
from django_ais.exceptions import LeaseLost, StopJob
from django_ais.retry import RetryDecision
from django_ais.runtime import engine, flushing, lifecycle, sql
from django_ais.runtime.active import child_row
from django_ais.runtime.database import Raw
from django_ais.workers import Child
from tests.app.models import Effect
from tests.harness.attempts import active, by_hand, claim, expire, fresh, picture  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]

UNCLAIMED = {
    "status": "queued",
    "attempt": 0,
    "deliveries": 0,
    "lease_epoch": 0,
    "lease_owner": "",
    "lease_expires_at": None,
}


# -- how a lease is lost ---------------------------------------------------------------------------------------------


def somebody_else_claims(attempt):
    expire(attempt.row)
    claim(attempt.row)


def the_claim_is_forgotten_and_the_epoch_used_again(attempt):
    """A crash of the database, or a failover, loses a claim that it had committed asynchronously."""
    assert sql.change(attempt.row.id, UNCLAIMED, statuses=["running"])
    other = claim(attempt.row)
    assert other.lease.epoch == attempt.lease.epoch


def the_epoch_alone_moves_on(attempt):
    assert sql.change(attempt.row.id, {"lease_epoch": Raw("lease_epoch + 1")}, statuses=["running"])


def the_job_is_cancelled(attempt):
    jobs.cancel(attempt.row)


LOSSES = [
    somebody_else_claims,
    the_claim_is_forgotten_and_the_epoch_used_again,
    the_epoch_alone_moves_on,
    the_job_is_cancelled,
]


# -- what it tries to write all the same -------------------------------------------------------------------------------


def succeed(attempt):
    engine.succeed(attempt, {"late": True}, lambda: leave_a_row(attempt))


def fail(attempt):
    _fail(attempt, RetryDecision(action="fail"))


def try_again_later(attempt):
    _fail(attempt, RetryDecision(action="retry"))


def suspend_for_a_person(attempt):
    _fail(attempt, RetryDecision(action="suspend"))


def _fail(attempt, decision):
    engine.fail(attempt, ValueError("late"), decision, max_retries=3, on_failure=lambda: leave_a_row(attempt))


def leave_a_row(attempt) -> None:
    Effect.objects.create(job_id=str(attempt.row.id), name="late")


def wait_for_children(attempt):
    rows = [child_row(attempt, Child(type="echo"), "route:0")]
    engine.wait_for_children(attempt, {"late": True}, rows, join="all_succeeded")


def record_a_step(attempt):
    active(attempt).step("late", lambda: "late")


def record_an_intent(attempt):
    active(attempt).step("late", lambda: "late", repeat="never")


def create_a_child(attempt):
    active(attempt).dispatch("echo")


def say_something(attempt):
    active(attempt).emit("log.written", level="info", message="late")
    with attempt.buffer.writing:
        flushing.flush_together([attempt.buffer])
    attempt.lease.check()


def give_the_job_back(attempt):
    if not lifecycle.release(attempt.lease):
        raise LeaseLost("it was not ours to give")


WRITES = [
    succeed,
    fail,
    try_again_later,
    suspend_for_a_person,
    wait_for_children,
    record_a_step,
    record_an_intent,
    create_a_child,
    say_something,
    give_the_job_back,
]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_who_lost_the_lease_writes_nothing(lose, write):
    """Whatever it tries is refused with `StopJob`, and not one stored value changes."""
    job = jobs.dispatch("effect")
    attempt = claim(job)
    lose(attempt)
    before = picture(job)

    with pytest.raises(StopJob):
        write(attempt)

    assert picture(job) == before
    assert not Effect.objects.exists()


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_who_holds_the_lease_writes(write):
    """The same writes land as long as the lease is held: the refusals above are the fence's."""
    job = jobs.dispatch("effect")
    attempt = claim(job)
    before = picture(job)

    write(attempt)

    assert picture(job) != before


def test_what_was_said_before_the_loss_is_not_written_after_it():
    """Text in the buffer of an old attempt is dropped, and the new owner's events follow without a hole."""
    job = jobs.dispatch("effect")
    old = claim(job)
    active(old).emit("log.written", level="info", message="old")
    expire(job)
    new = claim(job)
    active(new).emit("log.written", level="info", message="new")

    for attempt in (old, new):
        with attempt.buffer.writing:
            flushing.flush_together([attempt.buffer])

    assert [row["data"].get("message") for row in picture(job)["events"]] == [None, "new"]
    assert isinstance(old.lease.ended, LeaseLost)
    assert new.lease.ended is None


def test_a_new_claim_has_a_new_epoch_and_a_new_owner():
    """No two claims of a job share either part of the fence."""
    job = jobs.dispatch("effect")
    fences = set()
    for _ in range(3):
        attempt = claim(job)
        fences |= {attempt.lease.epoch, attempt.lease.owner}
        expire(job)

    assert len(fences) == 6
    assert fresh(job).lease_epoch == 3
