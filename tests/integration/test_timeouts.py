"""Three time limits: waiting in the queue, one attempt, the whole job; and code that does not listen."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="index, operator"

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from django_ais import jobs
from django_ais.backends.gateway.scripted import Wait, script
from django_ais.models import JobPacket
from django_ais.retry import Backoff, RetryPolicy
from django_ais.runtime import leases, relay
from django_ais.strategies import BaseStrategy
from tests.app.behaviour_workers import AT_ONCE, Gate, OutOfPaper, events, note, notes, said, settings_of, worker_of
from tests.app.models import Effect
from tests.harness.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
SOON = 0.2
LONG = 20.0


@pytest.fixture(autouse=True)
def threads(settings):
    """Jobs run in threads, and leases are looked at often."""
    settings.DJANGO_AIS = settings_of("memory", LEASE_SECONDS=1.0, SWEEP_SECONDS=0.2)
    notes.clear()


def waited(worker: str, payload=None, **options) -> JobPacket:
    return jobs.wait(jobs.dispatch(worker, payload, **options), timeout=LONG)


def passed_its_limit(job: JobPacket) -> bool:
    return job.status == "failed" and job.error["code"] == "attempt_timeout"


# -- one attempt


def test_an_async_attempt_is_cancelled_where_it_waits():
    async def run(job):
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            note("cancelled")
            raise

    before = time.monotonic()
    job = waited(worker_of(run, timeout=SOON))

    assert passed_its_limit(job)
    assert notes == ["cancelled"]
    assert time.monotonic() - before < leases.GRACE_SECONDS


def test_a_gateway_call_is_cancelled_where_it_waits():
    async def forever():
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            note("cancelled")
            raise

    gateway = script(default=["Well, ", Wait(until=forever), "yes."])

    job = waited(worker_of(lambda job: job.think(BaseStrategy(), gateway), timeout=SOON), {"prompt": "?"})

    assert passed_its_limit(job)
    assert notes == ["cancelled"]
    assert [data["text"] for data in said(job, "message.delta")] == ["Well, "], "what was streamed is kept"


def test_plain_code_that_asks_stops_by_itself():
    def run(job):
        while not job.cancelled:
            time.sleep(0.01)
        note("stopped")
        return "too late"

    job = waited(worker_of(run, timeout=SOON))

    assert passed_its_limit(job)
    assert job.result is None
    assert notes == ["stopped"]


@pytest.mark.parametrize("say", [lambda job: job.progress(1), lambda job: job.step(str(time.time()), lambda: 1)])
def test_plain_code_is_stopped_at_its_next_event_or_step(say):
    def run(job):
        while True:
            time.sleep(0.01)
            say(job)

    assert passed_its_limit(waited(worker_of(run, timeout=SOON)))


def test_a_result_that_comes_after_the_limit_is_refused():
    """Also within the grace: nobody may rely on how late is too late."""

    def run(job):
        time.sleep(SOON * 2)
        return "too late"

    job = waited(worker_of(run, timeout=SOON, on_done=lambda job, result, children: note("done")))

    assert passed_its_limit(job)
    assert (job.result, notes) == (None, [])


def test_plain_code_that_ignores_its_limit_is_given_up_after_the_grace(monkeypatch):
    """The job fails while the code still runs; what the code does afterwards is refused."""
    monkeypatch.setattr(leases, "GRACE_SECONDS", 0.1)
    gate, over = Gate(), threading.Event()

    def run(job):
        gate.stand()
        try:
            job.step("late", lambda: note("late step"))
        finally:
            over.set()
        return "too late"

    def on_failure(job, error):
        Effect.objects.create(job_id=str(job.id), name=type(error).__name__)

    job = waited(worker_of(run, timeout=SOON, on_failure=on_failure))

    assert passed_its_limit(job)
    gate.opened.set()
    assert over.wait(LONG)
    until(lambda: not leases.keeper().held(), what="the attempt to leave")
    assert (jobs.get(job).status, jobs.get(job).result, notes) == ("failed", None, [])
    assert events(job)[-1] == "job.failed"
    assert list(Effect.objects.values_list("name", flat=True)) == ["JobTimeoutError"]


def test_an_attempt_that_was_given_up_is_tried_again_beside_the_old_one(monkeypatch):
    monkeypatch.setattr(leases, "GRACE_SECONDS", 0.1)
    gate = Gate()

    def run(job):
        if job.attempt == 1:
            gate.stand()
            return "from the first attempt"
        return "from the second attempt"

    job = waited(worker_of(run, timeout=SOON, retry_policy=RetryPolicy(max_retries=1, backoff=AT_ONCE)))
    gate.opened.set()
    until(lambda: not leases.keeper().held(), what="the first attempt to leave")

    assert (jobs.get(job).status, jobs.get(job).result) == ("succeeded", "from the second attempt")
    assert events(job, "job.succeeded") == ["job.succeeded"]


def test_a_limit_counts_for_each_attempt_anew():
    def run(job):
        if job.attempt < 3:
            time.sleep(SOON * 2)
        return job.attempt

    job = waited(worker_of(run, timeout=SOON, retry_policy=RetryPolicy(max_retries=2, backoff=AT_ONCE)))

    assert (job.status, job.result) == ("succeeded", 3)
    assert [data["code"] for data in said(job, "job.retried")] == ["attempt_timeout"] * 2


def test_a_worker_without_a_limit_has_none():
    assert waited(worker_of(lambda job: 1, timeout=None)).status == "succeeded"


# -- waiting in the queue


def test_a_job_that_nobody_takes_in_time_fails(settings):
    settings.DJANGO_AIS = settings_of("database")  # whose worker process nobody has started

    job = jobs.dispatch("give", config={"queue_timeout": 0.01})
    until(lambda: relay.sweep() or jobs.get(job).is_terminal, what="the sweep to find it")

    job = jobs.get(job)
    assert (job.status, job.error["code"], job.attempt) == ("failed", "queue_timeout", 0)
    assert "no worker process took the job in time" in job.error["message"]
    assert events(job) == ["job.queued", "job.failed"]


def test_the_queue_limit_ends_with_the_first_claim():
    """A job that waits for its next attempt has been taken in time, however long that wait is."""

    def run(job):
        time.sleep(SOON)
        raise OutOfPaper

    policy = RetryPolicy(max_retries=1, backoff=Backoff(first=200.0))
    job = jobs.dispatch(worker_of(run, retry_policy=policy), config={"queue_timeout": SOON / 2})
    until(lambda: jobs.get(job).retries == 1, what="the first attempt to fail")

    relay.sweep()

    assert jobs.get(job).status == "queued"


def test_the_queue_limit_of_a_job_that_is_to_wait_begins_when_it_is_due(settings):
    settings.DJANGO_AIS = settings_of("database")
    due = timezone.now() + timedelta(hours=1)

    job = jobs.dispatch("give", run_after=due, config={"queue_timeout": 60.0})

    assert jobs.get(job).start_by_at >= due + timedelta(seconds=60)


# -- the whole job


def test_a_job_that_takes_too_long_as_a_whole_fails_whatever_retries_it_has():
    def run(job):
        raise OutOfPaper

    job = jobs.dispatch(worker_of(run), config={"total_timeout": SOON, "max_retries": 9, "backoff": {"first": 600}})
    job = jobs.wait(job, timeout=LONG)

    assert (job.status, job.error["code"]) == ("failed", "job_timeout")


def test_the_whole_jobs_limit_stops_an_attempt_that_runs():
    gate = Gate()

    def run(job):
        while not job.cancelled:
            time.sleep(0.01)
        gate.stand()

    job = waited(worker_of(run), config={"total_timeout": SOON})

    assert job.error["code"] == "job_timeout"
    gate.await_one()
    gate.opened.set()


def test_the_whole_jobs_limit_ends_its_children_too():
    gate = Gate()

    def run(job):
        gate.stand()

    child = worker_of(run)

    def parent(job):
        job.dispatch(child)

    job = waited(worker_of(parent), config={"total_timeout": SOON})
    gate.opened.set()

    assert job.error["code"] == "job_timeout"
    assert [child.status for child in JobPacket.objects.filter(parent=job)] == ["cancelled"]


def test_a_parked_job_does_not_outlive_its_limit():
    def run(job):
        raise OutOfPaper

    policy = RetryPolicy(max_retries=1, backoff=AT_ONCE, on_exhausted="suspend")
    job = waited(worker_of(run, retry_policy=policy), config={"total_timeout": SOON})

    assert (job.status, job.error["code"]) == ("failed", "job_timeout")
