"""Verbs at the wrong time or about nothing, keys that conflict, rows written past the verbs."""

from __future__ import annotations

import datetime
import uuid

import pytest
from django.db import transaction
from django.utils import timezone

from django_ais import jobs
from django_ais.exceptions import (
    IdempotencyConflictError,
    IllegalTransitionError,
    JobNotFoundError,
    MachineOwnedFieldError,
    WaitInTransactionError,
)
from django_ais.models import JobPacket
from tests.app.models import Effect
from tests.harness.tables import rows
from tests.harness.wording import words

pytestmark = pytest.mark.django_db


def test_a_key_with_another_payload_is_refused(settings):
    """Given a job under a key, when the key comes again with another payload, then the error names key and job."""
    first = jobs.dispatch("echo", {"n": 1}, idempotency_key="order-7")
    before = rows()

    with pytest.raises(IdempotencyConflictError, match=words("'order-7'", str(first.id), "another payload", "new key")):
        jobs.dispatch("echo", {"n": 2}, idempotency_key="order-7")

    assert rows() == before


@pytest.mark.django_db(transaction=True)
def test_a_conflict_leaves_the_callers_transaction_usable(settings):
    """Given a caller's transaction, when a key conflicts in it, then what it wrote before and after is committed."""
    jobs.dispatch("echo", {"n": 1}, idempotency_key="order-7")

    with transaction.atomic():
        Effect.objects.create(job_id="a", name="before")
        with pytest.raises(IdempotencyConflictError):
            jobs.dispatch("echo", {"n": 2}, idempotency_key="order-7")
        Effect.objects.create(job_id="a", name="after")

    assert set(Effect.objects.values_list("name", flat=True)) == {"before", "after"}
    assert JobPacket.objects.count() == 1


@pytest.mark.parametrize("verb", [jobs.get, jobs.cancel, jobs.retry, jobs.resume])
@pytest.mark.parametrize("job", ["no-id", None, 5, uuid.UUID(int=1)])
def test_a_job_that_does_not_exist_is_not_found(verb, job, nothing_written):
    """Given an id of nothing, when any verb gets it, then it says which job is not there."""
    with pytest.raises(JobNotFoundError, match=words("no job", "") if isinstance(job, uuid.UUID) else "is no job id"):
        verb(job)


def test_waiting_inside_a_transaction_is_refused(settings):
    """Given an open transaction, when it waits for its own job, then the error says why that would never end."""
    with transaction.atomic():
        job = jobs.dispatch("echo", 1)
        with pytest.raises(WaitInTransactionError, match=words("jobs.wait", "not committed", "after the atomic block")):
            jobs.wait(job, timeout=1)


def test_an_open_run_cannot_be_retried(settings):
    """Given a job that is still queued, when retried by hand, then the error says what to do first."""
    job = jobs.dispatch("echo", 1, run_after=timezone.now() + datetime.timedelta(days=1))
    before = rows()

    with pytest.raises(IllegalTransitionError, match=words(str(job.id), "queued", "jobs.cancel")):
        jobs.retry(job)

    assert rows() == before


def test_only_a_parked_job_can_be_resumed(settings):
    """Given a queued job, when resumed, then the error names its status."""
    job = jobs.dispatch("echo", 1)

    with pytest.raises(IllegalTransitionError, match=words(str(job.id), "queued", "parked")):
        jobs.resume(job)


@pytest.mark.django_db(transaction=True)
def test_a_stale_row_cannot_be_saved(settings):
    """Given a row read before its job ran, when saved, then it is refused and the recorded result stays."""
    stale = jobs.dispatch("echo", {"n": 1})
    assert jobs.get(stale).status == "succeeded"
    stale.status = "failed"

    with pytest.raises(MachineOwnedFieldError, match=words("save()", "overwrite", "jobs.cancel", "update_fields")):
        stale.save()
    with pytest.raises(MachineOwnedFieldError, match=words("JobPacket.status", "jobs.retry")):
        stale.save(update_fields=["status"])

    assert (jobs.get(stale).status, jobs.get(stale).result) == ("succeeded", {"n": 1})


WRITES = {
    "update": lambda job: JobPacket.objects.update(status="failed"),
    "update of the result": lambda job: JobPacket.objects.filter(id=job.id).update(result=1),
    "bulk_update": lambda job: JobPacket.objects.bulk_update([job], ["priority"]),
    "create": lambda job: JobPacket.objects.create(type="echo"),
    "get_or_create": lambda job: JobPacket.objects.get_or_create(type="other"),
    "bulk_create": lambda job: JobPacket.objects.bulk_create([JobPacket(type="echo")]),
    "a related manager": lambda job: job.children.create(type="echo"),
}


@pytest.mark.parametrize("case", WRITES)
def test_the_runtimes_columns_are_refused_everywhere(case, settings):
    """Given a job, when its row is written past the verbs, then the error names the verb to use."""
    job = jobs.dispatch("echo", 1)
    before = rows()

    with pytest.raises(MachineOwnedFieldError, match=r"jobs\.|run\(\)"):
        WRITES[case](job)

    assert (rows(), jobs.get(job).status) == (before, "queued")


def test_an_applications_own_column_may_be_written(settings, django_user_model):
    """The other side: given a job, when its user is set, then that is saved."""
    job, user = jobs.dispatch("echo", 1), django_user_model.objects.create(username="ann")
    job.user = user

    job.save(update_fields=["user"])

    assert jobs.get(job).user_id == user.pk
    assert JobPacket.objects.update(user=None) == 1
