"""Which failed attempts are tried again, when, and what happens when the retries are used up."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="index"

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_ais import jobs
from django_ais.exceptions import GatewayError, IllegalTransitionError
from django_ais.models import JobPacket
from django_ais.retry import Backoff, RetryPolicy
from tests.app.behaviour_workers import AT_ONCE, OutOfPaper, events, note, notes, said, settings_of, steps, worker_of
from tests.harness.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
ODD = f"{OutOfPaper.__module__}.OutOfPaper"


@pytest.fixture(autouse=True)
def immediate(settings):
    """Each job runs inside of its dispatch, and so does each attempt whose backoff is nothing."""
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


def finished(worker: str, payload=None, **options) -> JobPacket:
    return jobs.get(jobs.dispatch(worker, payload, **options))


def out_of_paper(job):
    """A run that never succeeds."""
    note(job.attempt)
    raise OutOfPaper("no paper")


def busy(job):
    raise GatewayError("busy", code="rate_limited", retry_after=3_600.0)


def test_an_attempt_that_fails_is_tried_again_until_it_succeeds():
    def run(job):
        if job.attempt < 3:
            raise OutOfPaper("no paper")
        return "printed"

    job = finished(worker_of(run, retry_policy=RetryPolicy(max_retries=5, backoff=AT_ONCE)))

    assert (job.status, job.result, job.attempt, job.retries) == ("succeeded", "printed", 3, 2)
    assert job.error is None
    assert [(data["retry"], data["max_retries"], data["message"]) for data in said(job, "job.retried")] == [
        (1, 5, "no paper"), (2, 5, "no paper"),
    ]  # fmt: skip


def test_retries_are_used_up_and_the_last_error_stays():
    job = finished(worker_of(out_of_paper, retry_policy=RetryPolicy(max_retries=2, backoff=AT_ONCE)))

    assert notes == [1, 2, 3]
    assert job.status == "failed"
    assert job.error == {"code": "OutOfPaper", "message": "no paper", "type": ODD}
    assert events(job, "job.started", "job.retried", "job.failed") == [
        "job.started", "job.retried", "job.started", "job.retried", "job.started", "job.failed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        ({"retry_on": ("OutOfPaper",)}, 2),
        ({"retry_on": (ODD,)}, 2),
        ({"retry_on": ("rate_limited",)}, 1),
        ({"no_retry_on": ("OutOfPaper",)}, 1),
        ({"no_retry_on": ("rate_limited",)}, 2),
    ],
)
def test_a_policy_names_codes_and_classes(policy, attempts):
    job = finished(worker_of(out_of_paper, retry_policy=RetryPolicy(max_retries=1, backoff=AT_ONCE, **policy)))

    assert (job.status, job.attempt) == ("failed", attempts)


def test_a_dispatchs_config_lies_over_the_workers_policy():
    worker = worker_of(out_of_paper, retry_policy=RetryPolicy(max_retries=9, backoff=AT_ONCE))

    assert finished(worker, config={"max_retries": 1}).attempt == 2


def test_the_backoff_says_when_the_next_attempt_is_due():
    before = timezone.now()

    job = finished(worker_of(out_of_paper, retry_policy=RetryPolicy(max_retries=1, backoff=Backoff(first=200.0))))

    assert (job.status, job.attempt) == ("queued", 1)
    assert job.waiting_on["reason"] == "retry"
    assert timedelta(seconds=100) <= job.run_after - before < timedelta(seconds=220)


def test_a_providers_retry_after_wins_over_the_backoff():
    before = timezone.now()

    job = finished(worker_of(busy, retry_policy=RetryPolicy(max_retries=1, backoff=AT_ONCE)))

    assert said(job, "job.retried")[0]["delay"] == 3_600.0
    assert job.run_after - before > timedelta(seconds=3_590)


def test_an_attempt_that_waits_for_its_time_is_made_then(settings):
    """On a queue that holds messages back, without waiting for a sweep."""
    settings.DJANGO_AIS = settings_of("memory", SWEEP_SECONDS=60.0)

    def run(job):
        if job.attempt == 1:
            raise OutOfPaper

    policy = RetryPolicy(max_retries=1, backoff=Backoff(kind="constant", first=0.2))
    job = jobs.wait(jobs.dispatch(worker_of(run, retry_policy=policy)), timeout=20)

    assert (job.status, job.attempt) == ("succeeded", 2)


def test_an_exhausted_job_may_be_parked_for_a_person():
    policy = RetryPolicy(max_retries=1, backoff=AT_ONCE, on_exhausted="suspend")

    job = finished(worker_of(out_of_paper, retry_policy=policy))

    assert (job.status, job.attempt) == ("suspended", 2)
    assert job.waiting_on == {"reason": "exhausted", "code": "OutOfPaper", "message": "no paper"}
    assert job.error["message"] == "no paper"
    assert events(job)[-1] == "job.suspended"


def test_a_parked_job_that_is_resumed_has_all_its_retries_before_it_again():
    policy = RetryPolicy(max_retries=1, backoff=AT_ONCE, on_exhausted="suspend")
    job = finished(worker_of(out_of_paper, retry_policy=policy))

    resumed = jobs.resume(job)

    assert notes == [1, 2, 3, 4]
    assert (resumed.status, resumed.attempt) == ("suspended", 4)


def test_a_parked_job_that_is_resumed_may_succeed_with_the_steps_it_has_done():
    def run(job):
        first = job.step("first", lambda: job.attempt)
        if job.attempt < 3:
            raise OutOfPaper
        return first

    policy = RetryPolicy(max_retries=1, backoff=AT_ONCE, on_exhausted="suspend")
    job = finished(worker_of(run, retry_policy=policy))

    resumed = jobs.resume(job)

    assert (resumed.status, resumed.result, resumed.error, resumed.waiting_on) == ("succeeded", 1, None, None)
    assert events(job, "job.suspended", "job.resumed", "job.succeeded") == [
        "job.suspended", "job.resumed", "job.succeeded",
    ]  # fmt: skip


def test_a_parked_job_is_not_woken_by_its_children(settings):
    """It waits for a person; that a child of it ends meanwhile changes nothing."""
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 1})

    def run(job):
        note(job.attempt)
        job.dispatch("give", 1, priority=-9)
        raise OutOfPaper("no paper")

    policy = RetryPolicy(max_retries=1, backoff=AT_ONCE, on_exhausted="suspend")
    job = jobs.dispatch(worker_of(run, retry_policy=policy))
    until(lambda: jobs.get(job).status == "suspended", what="the job to be parked")
    child = jobs.wait(JobPacket.objects.get(parent=job), timeout=20)

    assert child.status == "succeeded"
    assert events(job, "job.resumed") == []
    assert (jobs.get(job).status, [mark for mark in notes if isinstance(mark, int)]) == ("suspended", [1, 2])


def test_a_parked_job_can_be_cancelled():
    policy = RetryPolicy(max_retries=1, backoff=AT_ONCE, on_exhausted="suspend")
    job = finished(worker_of(out_of_paper, retry_policy=policy))

    jobs.cancel(job)

    assert jobs.get(job).status == "cancelled"


@pytest.mark.parametrize("payload", ["succeeded", "queued"])
def test_only_a_parked_job_can_be_resumed(payload):
    policy = RetryPolicy(max_retries=1, backoff=Backoff(first=600.0))
    run = out_of_paper if payload == "queued" else (lambda job: 1)
    job = finished(worker_of(run, retry_policy=policy))

    with pytest.raises(IllegalTransitionError, match=f"is {payload}"):
        jobs.resume(job)


def test_the_steps_of_failed_attempts_stay_done():
    def run(job):
        job.step(f"step of {job.attempt}", lambda: 1)
        raise OutOfPaper

    job = finished(worker_of(run, retry_policy=RetryPolicy(max_retries=1, backoff=AT_ONCE)))

    assert steps(job) == {"step of 1": "done", "step of 2": "done"}
