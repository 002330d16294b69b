"""`rq` with real worker processes: jobs survive whatever is killed, stopped, sent twice or wiped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from django_ais import jobs, registry
from django_ais.models import JobPacket, JobStep
from django_ais.queues import QueueMessage
from tests.app.models import Effect
from tests.harness.waiting import until
from tests.integration.commands import workers  # noqa: F401 (dispatching a type needs its worker)
from tests.integration.commands.processes import Gate
from tests.integration.queues.rq_processes import RqProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database("sqlite")]

WAIT = 30.0  # seconds; a loaded machine needs long to start a process
READY = "concurrency"


@pytest.fixture
def ours(settings, redis_server):
    """The settings that this test and its worker processes share."""
    settings.DJANGO_AIS = {
        "QUEUES": {"default": {"BACKEND": "rq", "OPTIONS": {"url": redis_server.url}}},
        "BUSES": {"default": "database"},
        "GATEWAYS": {"default": "scripted"},
        "SWEEP_SECONDS": 0.2,
        "LEASE_SECONDS": 2,
        "ANNOUNCE_AGAIN_SECONDS": 1.0,
    }
    return settings.DJANGO_AIS


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def worker(ours, *arguments, **settings):
    """``manage.py ais_worker``; ``settings`` are laid over the test's."""
    return RqProcess("ais_worker", "--concurrency", "2", *arguments, settings={**ours, **settings})


def wait_for(rows):
    return [jobs.wait(row, timeout=WAIT) for row in rows]


def send_again(rows):
    """Every message once more."""
    registry.queues["default"].enqueue(
        [QueueMessage(job_id=str(row.id), dispatch_id=f"{row.id}-again") for row in rows]
    )


def test_jobs_are_run_and_a_message_sent_twice_has_one_effect(ours):
    """Given jobs whose messages are all sent twice, when worker processes take them, then each has its effect once."""
    rows = jobs.dispatch_many("effect", list(range(3)))
    send_again(rows)

    with worker(ours) as process:
        process.hear(READY)
        done = wait_for(rows)
        until(lambda: registry.queues["default"].depth() == 0, what="the second messages to be taken")

    assert [row.status for row in done] == ["succeeded"] * 3
    assert sorted(Effect.objects.values_list("job_id", flat=True)) == sorted(str(row.id) for row in rows)


def test_sigterm_waits_for_the_job_and_leaves_nobody_behind(ours, gate):
    """Given a running job, when the worker process is told to stop, then it takes nothing more, waits for the job, and
    ends with 0 and all its children.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours) as process:
        gate.await_entered()
        family = process.family()
        process.send(signal.SIGTERM)
        process.hear("taking nothing more")
        later = jobs.dispatch("echo")
        gate.open()
        code, said = process.end()

    assert code == 0, said
    assert jobs.get(job).status == "succeeded"
    assert jobs.get(later).attempt == 0
    assert [pid for pid in family if alive(pid)] == []


@pytest.mark.full
def test_a_job_that_outlasts_the_drain_is_handed_back(ours, gate):
    """Given a job longer than the drain's bound, when its worker process is told to stop, then the job is handed back
    without an attempt, its message waits in Redis, and another worker process finishes it.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours, DRAIN_SECONDS=0.3, SWEEP_SECONDS=60) as process:
        gate.await_entered()
        process.send(signal.SIGTERM)
        process.hear("taking nothing more")
        asked = time.monotonic()
        code, said = process.end()
        took = time.monotonic() - asked
    handed_back, word = jobs.get(job), JobStep.objects.get(job=job).output

    assert code == 0, said
    assert took < 6, f"it took {took:.1f} s to leave"
    assert (handed_back.status, handed_back.attempt, handed_back.deliveries) == ("queued", 0, 0)
    assert registry.queues["default"].depth() == 1

    with worker(ours):
        gate.await_entered()
        gate.open()
        done = jobs.wait(job, timeout=WAIT)
    assert (done.status, done.attempt, done.result) == ("succeeded", 1, word)


def test_a_killed_work_horse_costs_no_job(ours, gate):
    """Given a running job, when its process is killed, then its lease runs out and it is run again."""
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours) as process:
        gate.await_entered()
        os.kill(process.await_horse(), signal.SIGKILL)
        gate.await_entered()
        gate.open()
        done = jobs.wait(job, timeout=WAIT)

    assert (done.status, done.attempt, done.result) == ("succeeded", 2, JobStep.objects.get(job=job).output)


def test_lost_messages_and_a_redis_that_is_down_cost_no_job(ours, redis_server):
    """Given jobs whose messages Redis has lost, and jobs dispatched while it was down, when it is back, then all run;
    and dispatching was quick.
    """
    lost = jobs.dispatch_many("echo", [0, 1])
    redis_server.wipe()
    assert registry.queues["default"].depth() == 0
    redis_server.sigkill()
    began = time.monotonic()
    refused = [jobs.dispatch("echo", number) for number in (2, 3, 4)]
    took = time.monotonic() - began
    redis_server.start()

    with worker(ours):
        done = wait_for([*lost, *refused])

    assert took < 3, f"three dispatches took {took:.1f} s"
    assert [row.result for row in done] == [0, 1, 2, 3, 4]


def test_rqworker_of_django_rq_runs_jobs(ours, redis_server, settings):
    """Given a queue of django-rq's, when its own rqworker is started with the JSON serializer, then it runs our
    jobs.
    """
    settings.RQ_QUEUES = {"mail": {"URL": redis_server.url, "SERIALIZER": "rq.serializers.JSONSerializer"}}
    settings.DJANGO_AIS = {**ours, "QUEUES": {"default": {"BACKEND": "rq", "OPTIONS": {"queue": "mail"}}}}
    rows = jobs.dispatch_many("effect", [1, 2])

    with RqProcess(
        *["rqworker", "mail", "--burst", "--serializer", "rq.serializers.JSONSerializer"],
        settings=settings.DJANGO_AIS,
        DJANGO_SETTINGS_MODULE="tests.integration.queues.django_rq_settings",
        AIS_TEST_REDIS=redis_server.url,
    ) as process:
        code, said = process.end()

    assert code == 0, said
    assert [jobs.get(row).status for row in rows] == ["succeeded"] * 2
    assert Effect.objects.count() == 2


@pytest.mark.full
def test_worker_processes_wait_for_a_redis_that_has_died(ours, redis_server):
    """Given worker processes whose Redis dies, when it comes back, then they take what was dispatched meanwhile."""
    with worker(ours) as process:
        process.hear(READY)
        wait_for([jobs.dispatch("echo", "before")])
        redis_server.sigkill()
        row = jobs.dispatch("echo", "meanwhile")
        redis_server.start()
        done = wait_for([row, jobs.dispatch("echo", "after")])

    assert [row.result for row in done] == ["meanwhile", "after"]


@pytest.mark.full
def test_a_second_signal_stops_at_once(ours, gate):
    """Given a worker process that waits for its job, when it is told a second time, then it and its children leave."""
    jobs.dispatch("gated", gate.payload)
    with worker(ours, DRAIN_SECONDS=600) as process:
        gate.await_entered()
        family = process.family()
        process.send(signal.SIGTERM)
        process.hear("taking nothing more")
        asked = time.monotonic()
        process.send(signal.SIGTERM)
        code, said = process.end()
        took = time.monotonic() - asked

    assert code == 128 + signal.SIGTERM, said
    assert took < 5, f"it took {took:.1f} s to leave"
    until(lambda: not [pid for pid in family if alive(pid)], what="the children to be gone", seconds=5)


@pytest.mark.full
def test_jobs_survive_the_death_of_every_process(ours, gate):
    """Given a running job, when all processes are killed at once, then others finish it, and its step is not
    repeated.
    """
    job = jobs.dispatch("gated", gate.payload)
    more = jobs.dispatch_many("effect", list(range(4)))
    with worker(ours) as process:
        gate.await_entered()
        process.sigkill_all()

    with worker(ours):
        gate.await_entered()
        gate.open()
        done = wait_for([job, *more])

    assert [row.status for row in done] == ["succeeded"] * 5
    assert done[0].attempt == 2
    assert Effect.objects.count() == 4


@pytest.mark.full
def test_a_killed_rq_worker_and_a_killed_sweeper_are_replaced(ours):
    """Given a worker process, when its children are killed, then others take their places and jobs go on."""
    with worker(ours) as process:
        process.hear(READY)
        first = three_of(process)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        done = wait_for([jobs.dispatch("echo", number) for number in range(3)])
        second = three_of(process)

    assert [row.result for row in done] == [0, 1, 2]
    assert not first.keys() & second.keys()


@pytest.mark.full
def test_nobody_outlives_a_killed_parent(ours):
    """Given a worker process, when its first process alone is killed, then its children leave by themselves."""
    with worker(ours) as process:
        process.hear(READY)
        wait_for([jobs.dispatch("echo")])
        family = process.family()
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not [pid for pid in family if alive(pid)], what="the children to leave", seconds=60)


@pytest.mark.full
def test_many_jobs_with_every_message_twice_and_workers_killed_three_times(ours):
    """Given many jobs whose messages are all sent twice, when every process is killed three times meanwhile, then each
    job succeeds and has one effect.
    """
    rows = jobs.dispatch_many("effect", list(range(100)))
    send_again(rows)
    for number in (1, 2, 3):
        with worker(ours) as process:
            process.hear(READY)
            await_effects(10 * number)
            process.sigkill_all()

    began = time.monotonic()
    with worker(ours):
        until(lambda: not JobPacket.objects.open().exists(), what="all jobs", seconds=90)

    print(f"the rest took {time.monotonic() - began:.1f} s")
    assert set(JobPacket.objects.values_list("status", flat=True)) == {"succeeded"}
    assert sorted(Effect.objects.values_list("job_id", flat=True)) == sorted(str(row.id) for row in rows)


def three_of(process):
    """The children of a worker process with concurrency 2: two RQ workers, one that sweeps."""
    until(lambda: len(process.family()) >= 3, what="three children")
    return process.family()


def await_effects(count):
    until(lambda: Effect.objects.count() >= count, what=f"{count} effects")


def alive(pid):
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
