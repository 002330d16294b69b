"""The journeys whose times, keys and tables depend on a project's settings: short ones, run again under each variant.

`tests/migration/test_variants.py` runs this file in child processes with other settings.
"""

from __future__ import annotations

import asyncio
import datetime
from contextlib import aclosing
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.utils import timezone

from django_ais import jobs, registry
from django_ais.exceptions import DispatchError
from django_ais.models import AgentEvent, JobPacket
from django_ais.retry import Backoff, RetryPolicy
from django_ais.runtime import catalog, database, lifecycle, relay, sql, streams
from django_ais.workers import BaseWorker
from django_ais.workflows.loader import load
from tests.harness.waiting import until

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

WORKFLOW = """
name: twice
jobs:
  - {id: first, type: echo}
  - {id: second, type: effect}
"""
SOON = datetime.timedelta(seconds=0.4)


class FailsOnce(BaseWorker):
    retry_policy = RetryPolicy(max_retries=1, backoff=Backoff(kind="constant", first=0.4))

    def run(self, job: Any) -> Any:
        if job.attempt == 1:
            raise RuntimeError("once")
        return timezone.now().isoformat()


@pytest.fixture(autouse=True)
def fails_once(monkeypatch):
    monkeypatch.setitem(registry._workers, "fails_once", FailsOnce)


def events(job: JobPacket) -> list[AgentEvent]:
    return list(AgentEvent.objects.using(database.database()).filter(root=job.root_id).order_by("seq"))


def test_a_job_does_not_run_before_its_time():
    """Given a time soon, when dispatched for it, then the job starts no earlier and not much later."""
    due = timezone.now() + SOON

    done = jobs.wait(jobs.dispatch("echo", {"n": 1}, run_after=due), timeout=20)

    assert done.run_after == due
    assert done.started_at is not None
    assert done.finished_at is not None
    assert due <= done.started_at <= done.finished_at < due + datetime.timedelta(seconds=15)


def test_a_job_of_tomorrow_waits():
    """Given a job of tomorrow and one of now, when due ones are claimed, then it is the one of now alone."""
    later = jobs.dispatch("echo", 1, queue="default", run_after=timezone.now() + datetime.timedelta(hours=1))
    now = jobs.wait(jobs.dispatch("echo", 2), timeout=20)

    assert lifecycle.claim(later.id, alone=True) is None
    assert (now.status, jobs.get(later).status) == ("succeeded", "queued")
    assert 3_000 < (sql.next_due("default") or 0) < 3_700


def test_a_failed_attempt_is_tried_again_after_its_wait():
    """Given a constant backoff, when the first attempt fails, then the second comes after half of it at least."""
    done = jobs.wait(jobs.dispatch("fails_once"), timeout=20)

    failed = next(event for event in events(done) if event.type == "job.retried")
    wait = datetime.datetime.fromisoformat(str(done.result)) - failed.created_at
    assert (done.status, done.attempt) == ("succeeded", 2)
    assert datetime.timedelta(seconds=0.15) < wait < datetime.timedelta(seconds=15)


def test_a_lease_holds_until_it_runs_out(settings):
    """Given a claim, when swept while its lease lasts, then it stays; when it has run out, the job is queued again."""
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "database"}, "LEASE_SECONDS": 60}
    kept, lost = jobs.dispatch("echo", 1), jobs.dispatch("echo", 2)
    assert lifecycle.claim(kept.id, alone=True)
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "LEASE_SECONDS": 0.1}
    assert lifecycle.claim(lost.id, alone=True)

    until(lambda: relay.sweep() and jobs.get(lost).status == "queued", what="the lease to run out")

    assert jobs.get(kept).status == "running"
    assert (jobs.get(lost).waiting_on or {})["reason"] == "worker_lost"


def test_a_job_that_waited_too_long_fails_and_no_other(settings):
    """Given two time limits, one in the past and one to come, when swept, then only the first job fails."""
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "database"}}
    short = jobs.dispatch("echo", 1, config={"queue_timeout": 0.05, "total_timeout": 3600})
    long = jobs.dispatch("echo", 2, config={"queue_timeout": 3600, "total_timeout": 3600})

    until(lambda: relay.sweep() and jobs.get(short).is_terminal, what="the time limit to pass")

    assert (jobs.get(short).error or {})["code"] == "queue_timeout"
    assert jobs.get(long).status == "queued"


def test_a_workflow_runs_to_its_end_for_its_user():
    """Given a workflow and a user, when started, then its jobs belong to the user and its result is the last one's."""
    user = get_user_model().objects.create(username="ann")
    using = database.database()
    catalog.store(load(WORKFLOW).require(), source=WORKFLOW)

    run = jobs.wait(jobs.start("twice", {"n": 1}, user=user, tenant="acme"), timeout=20)

    assert (run.status, run.result) == ("succeeded", {"said": {"n": 1}})
    assert set(JobPacket.objects.using(using).in_run(run.id).values_list("user_id", flat=True)) == {user.pk}
    assert jobs.wait(jobs.dispatch("echo", 1, user=user.pk), timeout=20).user_id == user.pk


def test_a_run_can_be_followed_in_order_with_times_of_today():
    """Given a job, when followed, then its events come as 1, 2, 3, ... with times of the project's kind."""
    before = timezone.now()

    job = jobs.dispatch("effect", {"n": 1})
    heard = asyncio.run(everything(job))

    assert [event.seq for event in heard] == list(range(1, len(heard) + 1))
    assert heard[-1].type == "job.succeeded"
    assert all(timezone.is_aware(event.time) == timezone.is_aware(before) for event in heard)
    assert all(before <= event.time < before + datetime.timedelta(seconds=30) for event in heard)


async def everything(job: JobPacket) -> list[Any]:
    async with asyncio.timeout(20), aclosing(streams.follow(job.root_id)) as envelopes:
        return [envelope async for envelope in envelopes]


def test_a_time_of_the_other_kind_is_refused():
    """Given USE_TZ, when a job's time has a zone against it or none, then it is refused."""
    now = timezone.now()
    wrong = timezone.make_naive(now) if timezone.is_aware(now) else now.replace(tzinfo=datetime.UTC)

    with pytest.raises(DispatchError, match="run_after must be"):
        jobs.dispatch("echo", 1, run_after=wrong)


def test_the_rows_are_where_the_router_says():
    """Given the project's databases, when a job has run, then its row is on the router's alias and on no other."""
    done = jobs.wait(jobs.dispatch("echo", 1), timeout=20)

    assert done._state.db == database.database()
    holding = [
        alias for alias in connections if "django_ais_jobpacket" in connections[alias].introspection.table_names()
    ]
    assert holding == [database.database()]
