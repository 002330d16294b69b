"""The rows as people use them: questions of the queryset, and columns that only the runtime writes."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from django_ais import jobs
from django_ais.exceptions import MachineOwnedFieldError
from django_ais.models import JobPacket
from tests.app.behaviour_workers import overwrite, settings_of, worker_of

pytestmark = pytest.mark.django_db
COLUMNS = sorted({field.name for field in JobPacket._meta.concrete_fields} - {"user"})


@pytest.fixture(autouse=True)
def immediate(settings):
    settings.DJANGO_AIS = settings_of("immediate")


@pytest.fixture
def job() -> JobPacket:
    job = jobs.dispatch("give", 1)
    overwrite(job, status="running")
    return jobs.get(job)


@pytest.fixture
def user():
    return get_user_model().objects.create(username="ada")


# -- questions


@pytest.mark.django_db(transaction=True)
def test_a_queryset_answers_what_people_ask(settings):
    settings.DJANGO_AIS = settings_of("immediate") | {"QUEUES": {"default": "immediate", "later": "database"}}
    done = jobs.dispatch("give", 1, tenant="acme")
    failed = jobs.dispatch("fail", 1)
    waiting = jobs.dispatch("give", 1, queue="later")
    parent = jobs.dispatch(worker_of(lambda job: job.dispatch("double", 1) and None))

    def ids(queryset):
        return set(queryset.values_list("id", flat=True))

    every = JobPacket.objects
    assert ids(every.for_tenant("acme")) == {done.id}
    assert ids(every.open()) == {waiting.id}
    assert ids(every.terminal()) == ids(every.all()) - {waiting.id}
    assert ids(every.with_status("failed", "queued")) == {failed.id, waiting.id}
    assert ids(every.roots()) == {done.id, failed.id, waiting.id, parent.id}
    assert ids(every.of_type("double")) == ids(every.in_run(parent)) - {parent.id}
    assert ids(every.in_run(parent.id).terminal().of_type("double")) == ids(every.of_type("double"))


def test_no_tenant_is_a_tenant_of_its_own(job):
    jobs.dispatch("give", 1, tenant="acme")

    assert list(JobPacket.objects.for_tenant("")) == [job]


# -- columns of the runtime


def test_update_refuses_every_column_but_the_users(job):
    for column in COLUMNS:
        with pytest.raises(MachineOwnedFieldError, match=f"JobPacket.{column} is written by the runtime alone; use "):
            JobPacket.objects.update(**{column: getattr(job, column)})


def test_save_of_an_instance_that_was_read_is_refused_and_names_the_verbs(job):
    job.status = "cancelled"

    with pytest.raises(MachineOwnedFieldError, match=r"jobs\.cancel, jobs\.retry or jobs\.resume"):
        job.save()
    assert jobs.get(job).status == "running"


@pytest.mark.parametrize("fields", [["status"], ["user", "result"], ("lease_owner",), {"payload"}])
def test_save_of_the_runtimes_columns_is_refused(job, fields):
    with pytest.raises(MachineOwnedFieldError):
        job.save(update_fields=fields)


def test_save_of_what_dispatch_returned_is_refused_too():
    with pytest.raises(MachineOwnedFieldError):
        jobs.dispatch("give").save()


@pytest.mark.parametrize("fields", [["status"], ["user", "error"]])
def test_bulk_update_is_refused(job, fields):
    with pytest.raises(MachineOwnedFieldError):
        JobPacket.objects.bulk_update([job], fields)


@pytest.mark.parametrize(
    "create",
    [
        lambda: JobPacket.objects.create(type="give"),
        lambda: JobPacket(type="give").save(),
        lambda: JobPacket.objects.bulk_create([JobPacket(type="give")]),
        lambda: JobPacket.objects.get_or_create(type="nothing"),
        lambda: JobPacket.objects.update_or_create(type="nothing"),
    ],
)
def test_a_row_is_created_by_dispatch_alone(create):
    with pytest.raises(MachineOwnedFieldError, match=r"created by jobs\.dispatch"):
        create()
    assert not JobPacket.objects.exists()


def test_the_user_is_the_applications(job, user):
    job.user = user
    job.save(update_fields=["user"])
    assert jobs.get(job).user == user

    JobPacket.objects.update(user=None)
    assert jobs.get(job).user is None

    JobPacket.objects.bulk_update([job], ["user"])
    assert jobs.get(job).user == user


def test_a_user_who_goes_leaves_the_job(job, user):
    JobPacket.objects.update(user=user)

    user.delete()

    assert jobs.get(job).user is None


def test_a_job_is_shown_by_type_id_and_status(job):
    assert str(job) == f"give {job.id} (running)"
