"""Jobs come into being: what is stored, what is refused, many at once, and keys that make a dispatch happen once."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="operator"

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from django_ais import jobs
from django_ais.exceptions import (
    AisError,
    ConfigurationError,
    DispatchError,
    IdempotencyConflictError,
    JobNotFoundError,
    UnknownWorkerError,
)
from django_ais.models import AgentEvent, JobPacket
from django_ais.runtime.lifecycle import uuid7
from tests.app.behaviour_workers import (
    OutOfPaper,
    events,
    notes,
    settings_of,
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


# -- dispatch


@pytest.mark.usefixtures("nobody")
def test_a_dispatched_job_is_a_row_with_its_first_event():
    user = get_user_model().objects.create(username="ada")

    job = jobs.dispatch("give", {"n": 1}, tenant="acme", user=user, priority=5)

    row = jobs.get(job)
    assert (row.type, row.worker, row.status, row.payload) == ("give", "give", "queued", {"n": 1})
    assert (row.tenant, row.user_id, row.priority, row.queue, row.attempt) == ("acme", user.pk, 5, "default", 0)
    assert (row.root_id, row.parent_id, row.depth) == (row.id, None, 0)
    assert events(job) == ["job.queued"]


@pytest.mark.usefixtures("nobody")
def test_what_dispatch_returns_is_what_is_stored():
    job = jobs.dispatch("give", {"n": 1}, config={"max_retries": 2})

    row = jobs.get(job)
    for name in ("id", "type", "worker", "status", "payload", "config", "tenant", "queue", "priority", "root_id"):
        assert getattr(job, name) == getattr(row, name), name
    assert abs(job.created_at - row.created_at) < timedelta(seconds=5)


def test_ids_are_ordered_by_time():
    first = jobs.dispatch("give").id
    until(lambda: uuid7().int >> 80 > first.int >> 80, what="the next millisecond")

    second = jobs.dispatch("give").id

    assert first < second
    assert {first.version, second.version} == {7}


def test_a_job_of_a_type_may_be_run_by_another_worker():
    job = jobs.get(jobs.dispatch("invoice", 4, worker="double"))

    assert (job.type, job.worker, job.result) == ("invoice", "double", 8)


def test_a_job_dispatched_in_a_transaction_runs_after_its_commit():
    with transaction.atomic():
        job = jobs.dispatch("give", 1)
        assert notes == []

    assert jobs.get(job).status == "succeeded"


def test_a_job_whose_transaction_is_rolled_back_never_was():
    with transaction.atomic():
        job = jobs.dispatch("give", 1)
        transaction.set_rollback(True)

    with pytest.raises(JobNotFoundError):
        jobs.get(job)
    assert notes == []
    assert not AgentEvent.objects.exists()


def test_a_rolled_back_savepoint_takes_only_its_own_jobs_along():
    with transaction.atomic():
        kept = [jobs.dispatch("give", 1)]
        try:
            with transaction.atomic():
                jobs.dispatch("give", 2)
                raise OutOfPaper
        except OutOfPaper:
            pass
        kept.append(jobs.dispatch("give", 3))

    assert [jobs.get(job).status for job in kept] == ["succeeded"] * 2
    assert notes == [("give", 1), ("give", 3)]


@pytest.mark.usefixtures("threads")
def test_a_job_does_not_run_before_its_time():
    job = jobs.dispatch("give", run_after=timezone.now() + timedelta(seconds=0.5))

    job = jobs.wait(job, timeout=LONG)

    assert job.status == "succeeded"
    assert job.started_at >= job.run_after


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": 101}, {"priority": "high"}, {"priority": True}, {"idempotency_key": ""}, {"tenant": "x" * 101},
        {"tenant": "a\0"}, {"run_after": "tomorrow"}, {"config": {"max_retries": -1}}, {"config": {"timeout": "soon"}},
        {"config": "fast"}, {"user": "nobody at all"}, {"queue": "nowhere"}, {"worker": "ais.workflow"},
        {"type": "x" * 101}, {"payload": {1: 2}}, {"payload": "x" * 2**21},
    ],
)  # fmt: skip
def test_what_cannot_be_accepted_is_refused_before_anything_is_written(wrong):
    arguments = {"type": "give", "payload": 1, **wrong}

    with pytest.raises(AisError) as caught:
        jobs.dispatch(**arguments)

    assert isinstance(caught.value, DispatchError | ConfigurationError)
    assert not JobPacket.objects.exists()
    assert not AgentEvent.objects.exists()


def test_an_unknown_type_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownWorkerError, match=r"'gvie'.* Did you mean 'give'"):
        jobs.dispatch("gvie")


# -- many


@pytest.mark.usefixtures("nobody")
def test_many_jobs_are_dispatched_at_once_in_their_order():
    made = jobs.dispatch_many("give", list(range(700)), tenant="acme", priority=3)

    rows = JobPacket.objects.in_bulk([job.id for job in made])
    assert [rows[job.id].payload for job in made] == list(range(700))
    assert {(row.tenant, row.priority, row.root_id == row.id) for row in rows.values()} == {("acme", 3, True)}
    assert AgentEvent.objects.filter(type="job.queued", seq=1).count() == 700


def test_many_jobs_take_a_statement_for_each_table_and_not_for_each_job(django_assert_max_num_queries, settings):
    settings.DJANGO_AIS = settings_of("database")

    with django_assert_max_num_queries(40):
        jobs.dispatch_many("give", list(range(300)))


def test_of_many_jobs_all_are_made_or_none():
    with pytest.raises(DispatchError, match=r"payloads\[1\]"):
        jobs.dispatch_many("give", [1, object(), 3])
    assert not JobPacket.objects.exists()


def test_no_jobs_are_many_too():
    assert jobs.dispatch_many("give", []) == []


def test_many_jobs_run():
    made = jobs.dispatch_many("double", [1, 2, 3])

    assert [jobs.get(job).result for job in made] == [2, 4, 6]


# -- idempotency


def test_the_same_key_and_payload_return_the_job_that_exists():
    first = jobs.dispatch("give", {"a": 1, "b": 2}, idempotency_key="k")
    second = jobs.dispatch("give", {"b": 2, "a": 1}, idempotency_key="k")

    assert first.id == second.id
    assert second.status == "succeeded"
    assert notes == [("give", {"a": 1, "b": 2})]


def test_the_same_key_with_another_payload_is_a_conflict_that_names_the_job():
    first = jobs.dispatch("give", 1, idempotency_key="k")

    with pytest.raises(IdempotencyConflictError, match=str(first.id)):
        jobs.dispatch("give", 2, idempotency_key="k")


def test_a_key_belongs_to_its_tenant_and_type():
    made = [
        jobs.dispatch("give", 1, idempotency_key="k"),
        jobs.dispatch("give", 1, idempotency_key="k", tenant="acme"),
        jobs.dispatch("double", 1, idempotency_key="k"),
        jobs.dispatch("give", 1),
        jobs.dispatch("give", 1),
    ]

    assert len({job.id for job in made}) == 5


def test_a_taken_key_leaves_the_callers_transaction_usable():
    first = jobs.dispatch("give", 1, idempotency_key="k")

    with transaction.atomic():
        assert jobs.dispatch("give", 1, idempotency_key="k").id == first.id
        with pytest.raises(IdempotencyConflictError):
            jobs.dispatch("give", 2, idempotency_key="k")
        other = jobs.dispatch("give", 3)

    assert jobs.get(other).status == "succeeded"


def test_a_key_whose_transaction_was_rolled_back_is_free():
    with transaction.atomic():
        jobs.dispatch("give", 1, idempotency_key="k")
        transaction.set_rollback(True)

    assert jobs.get(jobs.dispatch("give", 2, idempotency_key="k")).result == 2
