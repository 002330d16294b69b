"""Cancelling: a whole subtree, in one transaction, with nobody born into it meanwhile."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_ais import jobs
from django_ais.exceptions import JobCancelled, LeaseLost
from django_ais.models import JobPacket
from django_ais.retry import RetryDecision
from django_ais.runtime import engine, flushing, stopping
from tests.harness.attempts import active, by_hand, claim, fresh, park, told  # noqa: F401
from tests.harness.interleave import Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]


def open_jobs(run):
    return list(JobPacket.objects.in_run(run.id).open().values_list("type", "status"))


def test_everything_below_a_job_is_cancelled_with_it():
    """A run of three generations ends as a whole: every status is final, the top's event is the last."""
    top = jobs.dispatch("effect")
    (middle,) = park(claim(top), "echo")
    park(claim(middle), "echo", "echo")

    jobs.cancel(top, reason="not needed")

    assert open_jobs(top) == []
    assert told(top)[-4:] == ["job.cancelled"] * 4
    assert fresh(top).error["message"] == "not needed"


def test_what_is_finished_stays_as_it_is():
    """Terminal is final: cancelling a finished job changes nothing and says nothing."""
    job = jobs.dispatch("effect")
    engine.succeed(claim(job), "done", None)
    before = told(job)

    jobs.cancel(job)

    assert fresh(job).status == "succeeded"
    assert told(job) == before


def test_in_a_transaction_it_happens_on_commit():
    """A caller's transaction neither waits for a job's lock nor holds it; rolled back, nothing was cancelled."""
    job = jobs.dispatch("effect")
    with transaction.atomic():
        jobs.cancel(job)
        assert fresh(job).status == "queued"
        transaction.set_rollback(True)
    assert fresh(job).status == "queued"

    with transaction.atomic():
        jobs.cancel(job)
        assert fresh(job).status == "queued"
    assert fresh(job).status == "cancelled"


def test_a_running_attempt_stops_at_its_next_step():
    """The attempt of a cancelled job can record nothing more, and what it would have said is not told."""
    job = jobs.dispatch("effect")
    attempt = claim(job)
    active(attempt).emit("log.written", level="info", message="before")
    with attempt.buffer.writing:
        flushing.flush_together([attempt.buffer])
    jobs.cancel(job)

    with pytest.raises(LeaseLost):
        active(attempt).step("next", lambda: 1)
    with attempt.buffer.writing:
        active(attempt).emit("log.written", level="info", message="after")
        flushing.flush_together([attempt.buffer])

    with pytest.raises(JobCancelled):
        active(attempt).emit("log.written", level="info", message="after that")
    assert told(job) == ["job.queued", "log.written", "job.cancelled"]


def test_a_cancelled_child_lets_its_parent_go_on():
    """The last child that ends wakes its parent, also when it ends by being cancelled."""
    top = jobs.dispatch("effect")
    (child,) = park(claim(top), "echo", join="all_done")

    jobs.cancel(child)

    assert fresh(child).status == "cancelled"
    assert fresh(top).status == "queued"
    assert fresh(top).counters.open_children == 0


def test_a_child_born_while_the_cancel_waits_is_no_orphan():
    """The running parent inserts a child and commits while the cancel waits for the parent's row."""
    top = jobs.dispatch("effect")
    attempt = claim(top)
    with Stage() as stage:
        inserted = stage.before_commit()
        birth = stage.start(lambda: active(attempt).dispatch("echo"))
        inserted.await_reached()
        cancel = stage.start(lambda: jobs.cancel(top))
        cancel.await_blocked()
        inserted.open()
        birth.result()
        cancel.result()

    assert JobPacket.objects.in_run(top.id).count() == 2
    assert open_jobs(top) == []


def test_a_grandchild_born_while_the_cancel_waits_is_no_orphan():
    """The same one generation lower: the cancel of the top waits for a child that is just dispatching."""
    top = jobs.dispatch("effect")
    (child,) = park(claim(top), "echo")
    attempt = claim(child)
    with Stage() as stage:
        inserted = stage.before_commit()
        birth = stage.start(lambda: active(attempt).dispatch("echo"))
        inserted.await_reached()
        cancel = stage.start(lambda: jobs.cancel(top))
        cancel.await_blocked()
        inserted.open()
        birth.result()
        cancel.result()

    assert JobPacket.objects.in_run(top.id).count() == 3
    assert open_jobs(top) == []


def test_a_grandchild_born_while_the_cascade_waits_is_no_orphan():
    """One of two children fails; the cascade waits for the other, which is just dispatching."""
    top = jobs.dispatch("effect")
    bad, busy = park(claim(top), "echo", "echo")
    fail(claim(bad))
    attempt = claim(busy)
    with Stage() as stage:
        inserted = stage.before_commit()
        birth = stage.start(lambda: active(attempt).dispatch("echo"))
        inserted.await_reached()
        cascade = stage.start(lambda: stopping.cancel_children(top.id))
        cascade.await_blocked()
        inserted.open()
        birth.result()
        cascade.result()

    assert JobPacket.objects.in_run(top.id).count() == 4
    assert open_jobs(top) == [("effect", "queued")]


def fail(attempt):
    return engine.fail(attempt, ValueError("bad"), RetryDecision(action="fail"), max_retries=0, on_failure=lambda: None)
