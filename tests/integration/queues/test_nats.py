"""NATS with real worker processes: jobs get done whatever happens to a process or to the server."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator
from functools import partial

import pytest

from django_ais import jobs, registry
from django_ais.exceptions import UnsupportedFeature
from django_ais.models import JobPacket
from django_ais.queues import QueueMessage
from tests.app.models import Effect
from tests.harness.waiting import until
from tests.integration.commands import workers  # noqa: F401 (dispatching a type needs its worker)
from tests.integration.commands.processes import CommandProcess, Gate
from tests.integration.queues.nats_server import names, nats_server, shared_server  # noqa: F401 (fixtures)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database("sqlite")]

WAIT = 30.0  # seconds; a loaded machine needs long to start a process


@pytest.fixture
def gate(tmp_path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.close()


@pytest.fixture
def ours(settings, nats_server):  # noqa: F811
    """The settings that this test and its worker processes share."""
    settings.DJANGO_AIS = {
        "QUEUES": {"default": {"BACKEND": "nats", "OPTIONS": names(nats_server)}},
        "BUSES": {"default": "database"},
        "GATEWAYS": {"default": "scripted"},
        "SWEEP_SECONDS": 0.3,
        "LEASE_SECONDS": 2,
    }
    return settings.DJANGO_AIS


def worker(ours, *arguments, **settings):
    """A worker process; ``settings`` are laid over the test's."""
    return CommandProcess("ais_worker", *arguments, settings={**ours, **settings})


def ready(process):
    """Wait until it consumes."""
    process.hear("(nats)")
    return process


def is_done(job):
    return jobs.get(job).status == "succeeded"


def all_done(made):
    return JobPacket.objects.filter(id__in=[job.id for job in made], status="succeeded").count() == len(made)


def announce_all(made):
    """Send a message for each job once more."""
    registry.queues["default"].enqueue(
        [QueueMessage(job_id=str(job.id), dispatch_id=f"{job.id}-{secrets.token_hex(4)}") for job in made]
    )


def test_jobs_that_are_sent_twice_have_their_effect_once(ours):
    """Given two messages for each job, when two worker processes take them, then each job succeeds, its effect happens
    once, and no message is left.
    """
    made = jobs.dispatch_many("effect", list(range(40)))
    announce_all(made)
    queue = registry.queues["default"]
    assert queue.depth() == 80

    with worker(ours), worker(ours):
        until(lambda: all_done(made), what="all jobs")
        until(lambda: queue.depth() == 0, what="all messages to be taken")

    assert Effect.objects.count() == len(set(Effect.objects.values_list("job_id", flat=True))) == 40
    assert set(JobPacket.objects.values_list("attempt", flat=True)) == {1}


def test_an_idle_worker_process_starts_a_new_job_soon(ours):
    """Given an idle worker process, when jobs are dispatched, then the broker wakes it, long before any sweep."""
    with ready(worker(ours, SWEEP_SECONDS=60)):
        jobs.wait(jobs.dispatch("echo"), timeout=WAIT)
        rows = [jobs.wait(jobs.dispatch("echo"), timeout=WAIT) for _ in range(5)]

    latencies = sorted((row.started_at - row.created_at).total_seconds() for row in rows if row.started_at)
    print("dispatch to start, ms:", [round(seconds * 1000, 1) for seconds in latencies])
    assert latencies[2] < 0.5


def test_a_job_of_a_killed_process_is_taken_up_by_another(ours, gate):
    """Given a running job, when its worker process is killed, then another one runs the job and records its step once.

    The message itself would come again after `ack_wait_seconds`; the lease is what is noticed.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours) as process:
        gate.await_entered()
        process.send(signal.SIGKILL)
        process.end()

    with worker(ours):
        gate.await_entered()
        gate.open()
        done = jobs.wait(job, timeout=WAIT)

    assert (done.status, done.attempt) == ("succeeded", 2)


def test_a_dispatch_while_the_server_is_down_is_quick_and_not_lost(ours, nats_server):  # noqa: F811
    """Given a server that is down, when jobs are dispatched, then that takes moments, and they run when it is back."""
    with ready(worker(ours)) as process:
        jobs.wait(jobs.dispatch("echo"), timeout=WAIT)
        nats_server.sigkill()
        begun = time.monotonic()
        made = [jobs.dispatch("echo", number) for number in range(5)]
        took = time.monotonic() - begun
        nats_server.start()
        until(lambda: all_done(made), what="the jobs to run once the server is back")
        process.send(signal.SIGTERM)
        code, said = process.end()

    assert took < 3, f"five dispatches took {took:.1f} s"
    assert code == 0, said


def test_a_server_that_lost_everything_loses_no_job(ours, settings, nats_server):  # noqa: F811
    """Given waiting messages, when the server loses its data, then stream and consumer are made again and the sweep
    announces the jobs again.
    """
    settings.DJANGO_AIS = {**ours, "ANNOUNCE_AGAIN_SECONDS": 0.5}
    made = jobs.dispatch_many("echo", list(range(10)))
    nats_server.wipe()

    with worker(settings.DJANGO_AIS):
        until(lambda: all_done(made), what="the jobs whose messages were lost")


def test_a_worker_process_lives_through_a_restart_of_the_server(ours, nats_server):  # noqa: F811
    """Given an idle worker process, when the server restarts, then the same process takes the next job and what waited
    on disk.
    """
    with ready(worker(ours, "--concurrency", "1")) as process:
        jobs.wait(jobs.dispatch("echo"), timeout=WAIT)
        nats_server.restart()
        until(lambda: pinged(), what="the server to answer")
        job = jobs.dispatch("echo", "after")
        until(lambda: is_done(job), what="the job after the restart")
        process.send(signal.SIGTERM)
        code, said = process.end()

    assert code == 0, said


def pinged():
    registry.queues["default"].ping()
    return True


def test_a_stopping_worker_process_lets_its_job_end_and_leaves_the_rest_to_others(ours, gate):
    """Given a running job, when the worker process is asked to stop, then it waits for the job, exits with 0, and a
    job that comes meanwhile is run by the next process without a wait for `ack_wait_seconds`.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours) as process:
        gate.await_entered()
        process.send(signal.SIGTERM)
        process.hear("claiming nothing more")
        later = jobs.dispatch("echo")
        gate.open()
        code, said = process.end()
    stopped = jobs.get(job).status, jobs.get(later).attempt

    with worker(ours, SWEEP_SECONDS=60):
        until(lambda: is_done(later), what="the later job")

    assert code == 0, said
    assert "every job it took has ended" in said
    assert stopped == ("succeeded", 0)


def test_a_wrong_address_stops_neither_site_nor_worker_process(ours, settings):
    """Given a server that is not there, when a job is dispatched and a worker process runs, then both go on, the
    process says what is wrong, and stops in order.
    """
    wrong = {**ours, "QUEUES": {"default": {"BACKEND": "nats", "OPTIONS": {"url": "nats://127.0.0.1:9"}}}}
    settings.DJANGO_AIS = wrong
    begun = time.monotonic()
    job = jobs.dispatch("echo")
    took = time.monotonic() - begun

    with worker(wrong) as process:
        process.hear("no NATS server takes the connection at nats://127.0.0.1:9")
        process.send(signal.SIGTERM)
        code, said = process.end()

    assert took < 3
    assert jobs.get(job).status == "queued"
    assert code == 0, said


def test_a_priority_is_refused_by_the_driver_and_spared_it_by_a_dispatch(ours):
    """Given an engine without priorities, when a message has one, then it is refused before it is sent; a job's own is
    left out of its message.
    """
    queue = registry.queues["default"]
    with pytest.raises(UnsupportedFeature, match="no priorities"):
        queue.enqueue([QueueMessage(job_id="x", dispatch_id="x-1", priority=5)])
    assert queue.depth() == 0

    jobs.dispatch("echo", priority=5)

    assert queue.depth() == 1


@pytest.mark.full
def test_five_hundred_jobs_survive_kills_of_processes_and_server(ours, settings, nats_server):  # noqa: F811
    """Given many jobs, each sent twice, when worker processes and the server are killed and the server is wiped
    meanwhile, then every job succeeds and has its effect once.
    """
    settings.DJANGO_AIS = {**ours, "ANNOUNCE_AGAIN_SECONDS": 2}
    made = jobs.dispatch_many("effect", list(range(500)))
    announce_all(made)
    more = {"ANNOUNCE_AGAIN_SECONDS": 2, "MAX_DELIVERIES": 20}

    def how_many():
        return JobPacket.objects.filter(status="succeeded").count()

    def reached(aim):
        return how_many() >= aim

    with ready(worker(ours, **more)) as last:
        for hurt in (nats_server.sigkill, None, nats_server.wipe):
            aim = min(how_many() + 60, 480)
            with ready(worker(ours, **more)) as process:
                until(partial(reached, aim), what=f"{aim} jobs")
                process.send(signal.SIGKILL)
            if hurt is not None:
                hurt()
            if hurt == nats_server.sigkill:
                nats_server.start()
        until(lambda: all_done(made), what="all jobs", seconds=90)
        last.send(signal.SIGTERM)
        assert last.end()[0] == 0

    assert Effect.objects.count() == len(set(Effect.objects.values_list("job_id", flat=True))) == 500
