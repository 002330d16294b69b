"""What a worker's hooks may rely on, each with a worker of a few lines."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="index"

from __future__ import annotations

import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from pydantic import BaseModel

from django_ais import jobs
from django_ais.exceptions import ConfigurationError, GatewayError
from django_ais.models import JobPacket
from django_ais.retry import RetryPolicy
from django_ais.workers import Child
from tests.app import behaviour_workers
from tests.app.behaviour_workers import (
    AT_ONCE,
    ONCE_MORE,
    OutOfPaper,
    events,
    note,
    notes,
    said,
    settings_of,
    steps,
    worker_of,
)
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def immediate(settings):
    """Each job runs inside of its dispatch, so that a test reads from top to bottom."""
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


def finished(worker: str, payload=None, **options) -> JobPacket:
    """Dispatch a job and return it as it is after its run."""
    return jobs.get(jobs.dispatch(worker, payload, **options))


def effects() -> list[str]:
    return list(Effect.objects.order_by("id").values_list("name", flat=True))


def write_effect(job, result, children) -> None:
    Effect.objects.create(job_id=str(job.id), name="done")


# -- prepare


def test_prepare_is_the_first_step_and_run_sees_what_it_read():
    def prepare(job):
        return {"customer": "Ada"}

    def run(job):
        job.step("second", lambda: 1)
        return job.inputs

    job = finished(worker_of(run, prepare=prepare))

    assert job.result == {"customer": "Ada"}
    assert list(steps(job)) == ["prepare", "second"]


def test_later_attempts_see_what_the_first_one_prepared_although_the_row_changed():
    effect = Effect.objects.create(job_id="0", name="before")

    def prepare(job):
        note("prepared")
        return {"name": Effect.objects.get(id=effect.id).name}

    def run(job):
        if job.attempt == 1:
            Effect.objects.update(name="after")
            raise OutOfPaper
        return job.inputs["name"]

    job = finished(worker_of(run, prepare=prepare, retry_policy=ONCE_MORE))

    assert (job.attempt, job.result) == (2, "before")
    assert notes == ["prepared"]


def test_on_done_after_children_sees_what_was_prepared():
    def prepare(job):
        return {"name": "Ada"}

    def on_done(job, result, children):
        note(job.inputs)

    finished(worker_of(lambda job: 1, prepare=prepare, route=lambda job, result: [Child(type="give")], on_done=on_done))

    assert notes[-1] == {"name": "Ada"}


def test_what_prepare_returns_must_be_json():
    job = finished(worker_of(lambda job: 1, prepare=lambda job: {"when": object()}))

    assert job.status == "failed"
    assert job.error["code"] == "invalid_payload"
    assert "prepare" in job.error["message"]


# -- run


def test_run_may_be_async():
    async def run(job):
        return {"twice": job.payload * 2}

    assert finished(worker_of(run), 21).result == {"twice": 42}


def test_an_async_run_may_read_the_database_and_record_steps():
    async def run(job):
        await Effect.objects.acreate(job_id=str(job.id), name="async")
        return await sync_to_async(job.step)("count", lambda: Effect.objects.count())

    assert finished(worker_of(run)).result == 1


@pytest.mark.parametrize("payload", [None, 0, "", [1, {"a": None}], {"ä": "\U0001f600"}])
def test_a_result_is_stored_as_it_is(payload):
    job = finished("echo", payload)

    assert (job.status, job.result) == ("succeeded", payload)


def test_a_pydantic_result_is_stored_as_its_json():
    class Total(BaseModel):
        amount: int

    assert finished(worker_of(lambda job: Total(amount=3))).result == {"amount": 3}


@pytest.mark.parametrize(
    ("result", "word"),
    [(object(), "not JSON"), ({"a": {1}}, "not JSON"), ("a\0", "NUL"), (float("nan"), "nan"), ("x" * 2**21, "limit")],
)
def test_a_result_that_cannot_be_stored_fails_the_job_and_names_it(result, word):
    job = finished(worker_of(lambda job: result, retry_policy=ONCE_MORE))

    assert (job.status, job.attempt) == ("failed", 1)
    assert "the result of behaviour." in job.error["message"]
    assert word in job.error["message"]


def test_a_worker_is_made_anew_for_each_attempt():
    def run(job):
        note(id(job))
        raise OutOfPaper

    finished(worker_of(run, retry_policy=ONCE_MORE))

    assert len(set(notes)) == 2


# -- on_done and on_failure


def test_on_done_sees_the_result_and_writes_with_it():
    job = finished(worker_of(lambda job: {"n": 1}, on_done=write_effect))

    assert job.status == "succeeded"
    assert effects() == ["done"]


def test_an_error_in_on_done_rolls_back_what_it_wrote_and_fails_the_attempt():
    def on_done(job, result, children):
        write_effect(job, result, children)
        raise OutOfPaper("in on_done")

    job = finished(worker_of(lambda job: 1, on_done=on_done))

    assert (job.status, job.result) == ("failed", None)
    assert "in on_done" in job.error["message"]
    assert effects() == []
    assert events(job)[-1] == "job.failed"


def test_an_async_on_done_rolls_back_too():
    """Its ORM calls run in the transaction of the job, not in one of a loop's thread."""

    async def on_done(job, result, children):
        await Effect.objects.acreate(job_id=str(job.id), name="async")
        raise OutOfPaper

    assert finished(worker_of(lambda job: 1, on_done=on_done)).status == "failed"
    assert effects() == []


def test_an_async_on_done_commits_with_the_job():
    async def on_done(job, result, children):
        await Effect.objects.acreate(job_id=str(job.id), name="async")

    assert finished(worker_of(lambda job: 1, on_done=on_done)).status == "succeeded"
    assert effects() == ["async"]


def test_an_on_done_that_failed_is_tried_again_with_the_next_attempt():
    def on_done(job, result, children):
        write_effect(job, result, children)
        if job.attempt == 1:
            raise OutOfPaper

    job = finished(worker_of(lambda job: job.attempt, on_done=on_done, retry_policy=ONCE_MORE))

    assert (job.status, job.result) == ("succeeded", 2)
    assert effects() == ["done"]


def test_what_on_done_says_is_told_before_the_end():
    def on_done(job, result, children):
        job.log("written")

    job = finished(worker_of(lambda job: 1, on_done=on_done))

    assert events(job)[-2:] == ["log.written", "job.succeeded"]


def test_what_on_done_says_is_told_once_although_its_transaction_runs_again():
    def on_done(job, result, children):
        note("on_done")
        job.log("written")
        if len(notes) == 1:
            raise OperationalError("database is locked")

    job = finished(worker_of(lambda job: 1, on_done=on_done))

    assert (job.attempt, len(notes), len(said(job, "log.written"))) == (1, 2, 1)


def test_on_failure_sees_the_error_and_writes_with_the_failure():
    def run(job):
        raise OutOfPaper("no paper")

    def on_failure(job, error):
        Effect.objects.create(job_id=str(job.id), name=f"{type(error).__name__}: {error}")

    job = finished(worker_of(run, on_failure=on_failure))

    assert job.status == "failed"
    assert effects() == ["OutOfPaper: no paper"]


def test_on_failure_is_not_called_for_an_attempt_that_is_tried_again():
    def run(job):
        if job.attempt == 1:
            raise OutOfPaper

    job = finished(worker_of(run, on_failure=lambda job, error: note("failed"), retry_policy=ONCE_MORE))

    assert job.status == "succeeded"
    assert notes == []


def test_an_on_failure_that_fails_changes_nothing_and_leaves_nothing(caplog):
    def run(job):
        raise OutOfPaper("no paper")

    def on_failure(job, error):
        Effect.objects.create(job_id=str(job.id), name="half")
        raise ValueError("in on_failure")

    job = finished(worker_of(run, on_failure=on_failure))

    assert (job.status, job.error["message"]) == ("failed", "no paper")
    assert effects() == []
    assert "in on_failure" in caplog.text


def test_an_async_on_failure_writes_too():
    async def on_failure(job, error):
        await Effect.objects.acreate(job_id=str(job.id), name="async")

    def run(job):
        raise OutOfPaper

    assert finished(worker_of(run, on_failure=on_failure)).status == "failed"
    assert effects() == ["async"]


# -- config


class PaperConfig(BaseModel):
    size: str = "A4"
    copies: int


def test_a_workers_own_config_is_checked_at_dispatch_and_typed_in_the_job():
    worker = worker_of(lambda job: [job.config.size, job.config.copies], config_class=PaperConfig)

    assert finished(worker, config={"copies": "3", "max_retries": 1}).result == ["A4", 3]


@pytest.mark.parametrize("config", [{}, {"copies": "many"}])
def test_a_config_that_does_not_fit_is_refused_before_anything_is_written(config):
    worker = worker_of(lambda job: 1, config_class=PaperConfig)

    with pytest.raises(ConfigurationError, match="copies"):
        jobs.dispatch(worker, config=config)
    assert not JobPacket.objects.exists()


def test_without_a_config_class_the_own_keys_are_a_dict():
    assert finished(worker_of(lambda job: job.config), config={"copies": 3, "timeout": 9}).result == {"copies": 3}


# -- where hooks run


def test_hooks_of_an_attempt_share_one_thread():
    async def run(job):
        await sync_to_async(lambda: note(threading.get_ident()))()

    def on_done(job, result, children):
        note(threading.get_ident())

    finished(worker_of(run, on_done=on_done))

    assert notes == [threading.get_ident()] * 2


def test_the_module_of_workers_is_found_by_its_apps():
    assert finished("give", 1).result == 1
    assert behaviour_workers.Give.job_type is None


def test_a_gateways_error_shows_its_safe_message():
    def run(job):
        raise GatewayError("the prompt was: secret", code="auth")

    job = finished(worker_of(run, retry_policy=RetryPolicy(max_retries=3, backoff=AT_ONCE)))

    assert job.error["code"] == "auth"
    assert "secret" not in str([job.error, said(job, "job.failed")])
