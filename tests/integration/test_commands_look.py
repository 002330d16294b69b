"""Commands for people who look after it: explain, tail, doctor, prune."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_ais import jobs
from django_ais.models import AgentEvent, JobPacket, JobStep
from django_ais.runtime import bridge, database, streams
from django_ais.testing import drain, frozen_clock, run_job


def say(name: str, *args: Any, **options: Any) -> str:
    out = StringIO()
    call_command(name, *map(str, args), stdout=out, no_color=True, **options)
    return out.getvalue()


@pytest.mark.django_db
class TestExplain:
    def test_a_due_job(self) -> None:
        """Given a queued job, it waits for a worker process on its queue."""
        job = jobs.dispatch("echo", 1)
        assert "waits for a worker process on queue 'default'" in say("ais_explain", job.id)

    def test_a_job_of_later(self) -> None:
        """Given a time before which it must not run, it says when."""
        job = jobs.dispatch("echo", 1, run_after=database.moment() + timedelta(hours=3))
        assert "(in 3 hours)" in say("ais_explain", job.id)

    def test_an_unknown_worker(self) -> None:
        """Given a worker that this process does not know, it names it."""
        job = jobs.dispatch("echo", 1)
        JobPacket.objects.filter(id=job.id)._machine_update(worker="gone.worker")
        assert "needs worker 'gone.worker'" in say("ais_explain", job.id)

    def test_a_failed_job(self) -> None:
        """Given a failed job, it gives code and message."""
        job = jobs.dispatch("echo", 1)
        JobPacket.objects.filter(id=job.id)._machine_update(
            status="failed", error={"code": "auth", "message": "the key is wrong"}, finished_at=database.moment()
        )
        assert "auth: the key is wrong" in say("ais_explain", job.id)

    def test_no_such_job(self) -> None:
        """Given an id of nothing, the command says so and fails."""
        with pytest.raises(CommandError, match="no job"):
            say("ais_explain", "0198f3c2-0000-7000-8000-000000000000")


@pytest.mark.django_db(transaction=True)
def test_tail_shows_every_event_of_a_finished_run(settings: Any) -> None:
    """Given a finished run, each event is one line, after N only the later ones."""
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "immediate"}}
    job = jobs.dispatch("echo", 1)
    lines = say("ais_tail", job.id).splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert len(say("ais_tail", job.id, after=2).splitlines()) == 1


@pytest.mark.django_db
def test_the_doctor_names_what_is_wrong(settings: Any) -> None:
    """Given an unknown driver, the doctor says which and exits with 1; without it all is well."""
    assert "wrong" not in say("ais_doctor")
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "databse"}}
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("ais_doctor", stdout=out, no_color=True)
    assert "Did you mean 'database'?" in out.getvalue()


@pytest.mark.django_db(transaction=True)
class TestPrune:
    @pytest.fixture
    def old(self, settings: Any) -> JobPacket:
        """A run that finished forty days ago and said something."""
        settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "database"}}
        with frozen_clock(database.moment() - timedelta(days=40)):
            job = run_job("talks")
        assert AgentEvent.objects.filter(root=job.id, type="log.written").count() == 3
        return job

    def test_old_events_go_and_the_jobs_own_stay(self, old: JobPacket) -> None:
        """Given an old and a new run, only the old one's words are deleted, and only once asked for in earnest."""
        new = run_job("talks")
        assert "would delete 3 events of 1 runs" in say("ais_prune", dry_run=True)
        assert AgentEvent.objects.filter(root=old.id, type="log.written").count() == 3
        assert "deleted 3 events of 1 runs" in say("ais_prune")
        kept = list(AgentEvent.objects.filter(root=old.id).order_by("seq").values_list("type", flat=True))
        assert kept == ["job.queued", "job.started", "job.succeeded"]
        assert AgentEvent.objects.filter(root=new.id, type="log.written").count() == 3
        assert "deleted 0 events of 0 runs" in say("ais_prune")

    def test_a_pruned_run_can_still_be_followed(self, old: JobPacket) -> None:
        """Given a pruned run, a reader gets what is left and the stream ends."""
        say("ais_prune")

        async def read() -> list[str]:
            async with aclosing(streams.follow(old.id)) as events:
                return [event.type async for event in events]

        found = asyncio.run_coroutine_threadsafe(read(), bridge.loop()).result(10)
        assert found == ["job.queued", "job.started", "job.succeeded"]

    def test_whole_runs_can_be_deleted(self, old: JobPacket) -> None:
        """Given a number of days for runs, old ones vanish with their steps; a later retry of one stays."""
        again = jobs.retry(old)
        drain()
        assert "would delete" in say("ais_prune", runs_days=30, dry_run=True)
        say("ais_prune", runs_days=30)
        assert list(JobPacket.objects.values_list("id", flat=True)) == [again.id]
        assert not JobStep.objects.filter(job=old.id).exists()
        assert jobs.get(again).retry_of_id is None
