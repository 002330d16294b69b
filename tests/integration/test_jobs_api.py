"""The public verbs for a job that exists: get, wait, cancel, retry, resume; and the twins of all for async code."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="index"

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from django_ais import jobs
from django_ais.exceptions import (
    IllegalTransitionError,
    JobNotFoundError,
    WaitInTransactionError,
)
from django_ais.models import JobPacket
from django_ais.retry import RetryPolicy
from tests.app.behaviour_workers import (
    AT_ONCE,
    Gate,
    OutOfPaper,
    children,
    events,
    note,
    notes,
    settings_of,
    worker_of,
)
from tests.harness.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 20.0


@pytest.fixture(autouse=True)
def immediate(settings):
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


@pytest.fixture
def threads(settings):
    """Jobs run in threads while the test goes on."""
    settings.DJANGO_AIS = settings_of("memory", LEASE_SECONDS=1.0)


@pytest.fixture
def nobody(settings):
    """Jobs stay queued: their worker process was never started."""
    settings.DJANGO_AIS = settings_of("database")


# -- get and wait


def test_a_job_is_found_by_its_row_its_id_and_its_ids_text():
    job = jobs.dispatch("give", 1)

    assert {jobs.get(name).id for name in (job, job.id, str(job.id))} == {job.id}


@pytest.mark.parametrize("name", ["x", "", None, 7, uuid4()])
def test_no_such_job_is_an_error_of_its_own(name):
    with pytest.raises(JobNotFoundError):
        jobs.get(name)


@pytest.mark.usefixtures("threads")
def test_wait_returns_the_finished_job():
    assert jobs.wait(jobs.dispatch("double", 2), timeout=LONG).result == 4


@pytest.mark.usefixtures("threads")
def test_wait_returns_a_failed_job_and_raises_nothing():
    assert jobs.wait(jobs.dispatch("fail", 2), timeout=LONG).status == "failed"


def test_wait_returns_at_once_what_is_finished():
    job = jobs.dispatch("give")

    assert jobs.wait(job, timeout=0).status == "succeeded"


@pytest.mark.usefixtures("nobody")
def test_wait_gives_up_after_its_timeout_and_the_job_stays():
    job = jobs.dispatch("give")

    with pytest.raises(TimeoutError, match=f"job {job.id} .give. is queued"):
        jobs.wait(job, timeout=0.1)
    assert jobs.get(job).status == "queued"


@pytest.mark.usefixtures("threads")
def test_wait_may_be_for_a_child():
    def run(job):
        note(job.dispatch("double", 3))

    jobs.dispatch(worker_of(run))
    until(lambda: notes, what="the child to be dispatched")

    assert jobs.wait(notes[0], timeout=LONG).result == 6


def test_wait_in_a_transaction_is_refused():
    with transaction.atomic(), pytest.raises(WaitInTransactionError, match="after the atomic block"):
        jobs.wait(jobs.dispatch("give"))


# -- cancel


@pytest.mark.usefixtures("nobody")
def test_a_queued_job_is_cancelled_and_never_runs():
    job = jobs.dispatch("give")

    jobs.cancel(job, reason="not needed")

    job = jobs.get(job)
    assert (job.status, job.error["message"]) == ("cancelled", "not needed")
    assert job.finished_at is not None
    assert events(job) == ["job.queued", "job.cancelled"]


@pytest.mark.usefixtures("threads")
def test_a_running_job_is_cancelled_and_its_result_refused():
    gate = Gate()

    def run(job):
        gate.stand()
        note(job.cancelled)
        return "too late"

    job = jobs.dispatch(worker_of(run, on_done=lambda job, result, children: note("done")))
    gate.await_one()
    jobs.cancel(job)
    until(lambda: _has_noticed(job), what="the attempt to hear of it")
    gate.opened.set()
    until(lambda: notes, what="the attempt to go on")

    assert notes == [True]
    assert (jobs.get(job).status, jobs.get(job).result) == ("cancelled", None)
    assert events(job)[-1] == "job.cancelled"


def _has_noticed(job) -> bool:
    from django_ais.runtime.leases import keeper

    return not any(lease.job_id == job.id and lease.ended is None for lease in keeper().held())


@pytest.mark.usefixtures("threads")
def test_a_job_is_cancelled_with_everything_below_it():
    gate = Gate()
    grandchild = worker_of(lambda job: gate.stand())

    def child(job):
        job.dispatch(grandchild)

    middle = worker_of(child)

    def run(job):
        job.dispatch(middle)
        job.dispatch("give", run_after=timezone.now() + timedelta(hours=1))

    job = jobs.dispatch(worker_of(run))
    gate.await_one()
    until(lambda: jobs.get(job).status == "suspended", what="the root to wait")
    jobs.cancel(job)
    gate.opened.set()

    statuses = JobPacket.objects.in_run(job).values_list("status", flat=True)
    assert list(statuses) == ["cancelled"] * 4
    assert events(job)[-1] == "job.cancelled"
    assert events(job, "job.cancelled") == ["job.cancelled"] * 4


def test_a_finished_job_is_not_cancelled():
    job = jobs.dispatch("give", 1)

    jobs.cancel(job)

    assert jobs.get(job).status == "succeeded"
    assert events(job, "job.cancelled") == []


@pytest.mark.usefixtures("nobody")
def test_a_cancel_in_a_transaction_happens_on_commit():
    jobs_made = jobs.dispatch_many("give", [1, 2])

    with transaction.atomic():
        jobs.cancel(jobs_made[0])
        assert jobs.get(jobs_made[0]).status == "queued"
    with transaction.atomic():
        jobs.cancel(jobs_made[1])
        transaction.set_rollback(True)

    assert [jobs.get(job).status for job in jobs_made] == ["cancelled", "queued"]


def test_cancelling_nothing_is_an_error():
    with pytest.raises(JobNotFoundError):
        jobs.cancel(uuid4())


# -- retry


def test_a_failed_job_is_retried_as_a_new_one_with_all_it_was_given():
    job = jobs.dispatch("mend", {"a": 1}, tenant="acme", priority=4, config={"timeout": 9})

    again = jobs.retry(job)

    row = jobs.get(again)
    assert again.id != job.id
    assert (row.retry_of_id, row.type, row.payload) == (job.id, "mend", {"a": 1})
    assert (row.tenant, row.priority, row.config) == ("acme", 4, {"timeout": 9})
    assert jobs.get(job).status == "failed", "terminal is final"


def test_a_retry_leaves_the_idempotency_key_where_it_is():
    job = jobs.dispatch("fail", 1, idempotency_key="k")

    again = jobs.retry(job)

    assert jobs.get(again).idempotency_key is None
    assert jobs.dispatch("fail", 1, idempotency_key="k").id == job.id


@pytest.mark.usefixtures("nobody")
def test_an_open_job_cannot_be_retried():
    with pytest.raises(IllegalTransitionError, match=r"is queued; .*cancel"):
        jobs.retry(jobs.dispatch("give"))


def test_a_retry_of_a_child_is_one_of_its_run():
    job = jobs.dispatch(worker_of(lambda job: job.dispatch("give", 1) and None))
    (child,) = children(jobs.get(job))

    again = jobs.retry(child)

    assert jobs.get(again).retry_of_id == job.id


# -- twins


@pytest.mark.usefixtures("threads")
def test_every_verb_has_a_twin_for_async_code():
    async def story():
        job = await jobs.adispatch("double", 4)
        done = await jobs.await_(job, timeout=LONG)
        many = await jobs.adispatch_many("give", [1, 2])
        for one in many:
            await jobs.await_(one, timeout=LONG)
        failed = await jobs.await_(await jobs.adispatch("fail", 1), timeout=LONG)
        again = await jobs.await_(await jobs.aretry(failed), timeout=LONG)
        late = await jobs.adispatch("give", run_after=timezone.now() + timedelta(hours=1))
        await jobs.acancel(late)
        return done.result, again.retry_of_id == failed.id, (await jobs.aget(late)).status

    assert asyncio.run(story()) == (8, True, "cancelled")


@pytest.mark.usefixtures("nobody")
def test_the_twin_of_wait_gives_up_too():
    async def story():
        await jobs.await_(await jobs.adispatch("give"), timeout=0.1)

    with pytest.raises(TimeoutError, match="give"):
        asyncio.run(story())


def test_a_parked_job_is_resumed_by_its_twin():
    def run(job):
        if job.attempt < 3:
            raise OutOfPaper

    policy = RetryPolicy(max_retries=1, backoff=AT_ONCE, on_exhausted="suspend")

    async def story():
        job = await jobs.adispatch(worker_of(run, retry_policy=policy))
        return (await jobs.aresume(job)).status

    assert asyncio.run(story()) == "succeeded"


def test_an_async_worker_runs_inside_of_an_async_dispatch():
    async def run(job):
        return job.payload

    async def story():
        return (await jobs.aget(await jobs.adispatch(worker_of(run), 3))).result

    assert asyncio.run(story()) == 3
