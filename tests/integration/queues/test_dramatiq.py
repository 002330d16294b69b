"""Dramatiq with real worker processes: the doorbell may be lost, doubled or dead, the jobs run once."""

from __future__ import annotations

import itertools
import os
import re
import signal
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from dramatiq.brokers.redis import RedisBroker

from django_ais import jobs, registry
from django_ais.conformance.servers import RabbitServer, RedisServer
from django_ais.exceptions import QueueError
from django_ais.models import AgentEvent, JobPacket
from django_ais.queues import QueueMessage
from tests.app.models import Effect
from tests.harness.private import private
from tests.harness.waiting import until
from tests.integration.commands import workers  # noqa: F401 (dispatching a type needs its worker)
from tests.integration.commands.processes import Gate
from tests.integration.queues.dramatiq_worker import Engine

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database("postgres")]

WAIT = 40.0  # seconds; a loaded machine needs long to start a process
NOWHERE = "redis://127.0.0.1:1/0"

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with private(RedisServer) as server:
        yield server


@pytest.fixture
def ours(settings: Any, redis_server: RedisServer) -> dict[str, Any]:
    """The settings that a test and its worker processes share: a queue of the test's own on the private Redis."""
    return share(settings, redis_server.url)


def share(settings: Any, url: str | None, **options: Any) -> dict[str, Any]:
    options = {"url": url, "queue": f"ais.test{next(_numbers)}", **options}
    settings.DJANGO_AIS = {
        "QUEUES": {"default": {"BACKEND": "dramatiq", "OPTIONS": options}},
        "BUSES": {"default": "database"},
        "GATEWAYS": {"default": "scripted"},
        "LEASE_SECONDS": 2,
        "SWEEP_SECONDS": 0.3,
        "ANNOUNCE_AGAIN_SECONDS": 3,
        "DRAIN_SECONDS": 10,
    }
    return dict(settings.DJANGO_AIS)


@pytest.fixture
def gate(tmp_path: Any) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def worker(ours: dict[str, Any], *, concurrency: int = 4, **settings: Any) -> Engine:
    """A master with one worker process; ``settings`` are laid over the test's."""
    return Engine("ais_worker", "--concurrency", str(concurrency), settings={**ours, **settings})


def ring_again(rows: list[JobPacket]) -> None:
    """Send every job's message once more, as an engine does after an unclear answer."""
    registry.queues["default"].enqueue([QueueMessage(job_id=str(row.id), dispatch_id=f"{row.id}-b") for row in rows])


def is_to_be_announced_now(job: JobPacket) -> bool:
    """Whether the next sweep sends its message anew: the dispatch knows that it was not taken."""
    due = jobs.get(job).announce_at
    return due is not None and due <= timezone.now()


def stop(process: Engine) -> tuple[int, str]:
    process.send(signal.SIGTERM)
    return process.end()


@pytest.mark.full
def test_jobs_run_once_although_every_message_came_twice(ours):
    """Given jobs whose messages were sent twice, when a worker process starts, then each succeeds and has its effect
    once, nothing is left on the broker, and a job dispatched to the idle process starts within moments.
    """
    rows = jobs.dispatch_many("effect", list(range(30)))
    ring_again(rows)
    assert registry.queues["default"].depth() == 60

    with worker(ours) as process:
        process.await_ready()
        done = [jobs.wait(row, timeout=WAIT) for row in rows]
        until(lambda: registry.queues["default"].depth() == 0, what="an empty queue")
        later = [jobs.wait(jobs.dispatch("echo"), timeout=WAIT) for _ in range(10)]
        code, said = stop(process)

    assert {row.status for row in done} == {"succeeded"}
    assert sorted(Effect.objects.values_list("job_id", flat=True)) == sorted(str(row.id) for row in rows)
    assert AgentEvent.objects.filter(type="job.started", job__in=rows).count() == 30
    latencies = [(row.started_at - row.created_at).total_seconds() for row in later if row.started_at]
    print("dispatch to start, ms:", sorted(round(seconds * 1000) for seconds in latencies))
    assert statistics.median(latencies) < 1
    assert code == 0, said


def test_a_killed_worker_process_ends_its_master_and_the_next_one_finishes_its_job(ours, gate):
    """Given a running job, when its worker process is killed, then the master ends with an error, so that a supervisor
    starts it anew, and the job is taken up when its lease has run out.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours) as process:
        pid = process.await_ready()
        gate.await_entered()
        os.kill(pid, signal.SIGKILL)
        code, said = process.end()
    assert code != 0, said

    with worker(ours):
        gate.await_entered()
        gate.open()
        done = jobs.wait(job, timeout=WAIT)

    assert (done.status, done.attempt) == ("succeeded", 2)


@pytest.mark.full
def test_jobs_dispatched_while_the_broker_is_down_run_when_it_is_back(settings):
    """Given a broker that is down, when jobs are dispatched, then dispatch returns soon; when the broker is back, they
    run. Then the broker loses all its data, and what it was told of runs all the same.
    """
    with RedisServer() as server:
        ours = share(settings, server.url)
        server.stop()
        begun = time.monotonic()
        missed = [jobs.dispatch("echo", number) for number in range(5)]
        took = time.monotonic() - begun
        server.start()
        time.sleep(2.1)  # the breaker's pause
        lost = jobs.dispatch_many("echo", ["told"] * 5)
        assert registry.queues["default"].depth() == 5
        server.wipe()

        with worker(ours):
            done = [jobs.wait(row, timeout=WAIT) for row in [*missed, *lost]]

    assert took < 2, f"five dispatches took {took:.1f} s"
    assert [row.result for row in done] == [0, 1, 2, 3, 4, *["told"] * 5]


def test_a_stopping_worker_process_lets_its_job_end(ours, gate):
    """Given a running job, when the master gets SIGTERM, then nothing more is claimed, the job ends and so do all
    processes, with 0; what waits is left on the broker.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours, concurrency=1) as process:
        process.await_ready()
        gate.await_entered()
        process.send(signal.SIGTERM)
        process.hear("claiming nothing more")
        later = jobs.dispatch("echo")
        gate.open()
        code, said = process.end()

    assert code == 0, said
    assert jobs.get(job).status == "succeeded"
    assert jobs.get(later).attempt == 0
    assert registry.queues["default"].depth()  # one, or two if the sweep has told of it again


@pytest.mark.full
def test_a_job_that_outlasts_the_drain_is_handed_back(ours, gate):
    """Given a job longer than the drain's bound, when the master gets SIGTERM, then all processes end with 0 soon after
    the bound, and the job is queued again without an attempt.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours, DRAIN_SECONDS=0.5) as process:
        process.await_ready()
        gate.await_entered()
        asked = time.monotonic()
        code, said = stop(process)
        took = time.monotonic() - asked

    row = jobs.get(job)
    assert code == 0, said
    assert took < 12, f"it took {took:.1f} s to leave"
    assert (row.status, row.attempt, row.deliveries) == ("queued", 0, 0)


def test_a_wrong_address_costs_no_job(settings):
    """Given an address where nothing listens, when a job is dispatched, then that returns soon, the job waits in its
    row, and a ping says what is wrong.
    """
    share(settings, NOWHERE)
    begun = time.monotonic()

    job = jobs.dispatch("echo")

    assert time.monotonic() - begun < 2
    assert jobs.get(job).status == "queued"
    assert is_to_be_announced_now(job)
    with pytest.raises(QueueError, match=re.escape("127.0.0.1:1")):
        registry.queues["default"].ping()


def test_a_frozen_broker_holds_nobody_longer_than_the_timeout(settings):
    """Given a broker that takes connections and answers nobody, when a job is dispatched, then that returns in time."""
    with RedisServer() as server:
        share(settings, server.url)
        settings.DJANGO_AIS = {**settings.DJANGO_AIS, "ENQUEUE_TIMEOUT_SECONDS": 0.5}
        server.freeze()
        begun = time.monotonic()
        job = jobs.dispatch("echo")
        took = time.monotonic() - begun
        server.thaw()

    assert took < 1.5, f"dispatch took {took:.1f} s"
    assert is_to_be_announced_now(job)


def test_the_sending_thread_keeps_no_database_connection(ours):
    """Given middleware of the project's that writes rows, as django-dramatiq's does, when a message was sent, then the
    connection that this opened in the sending thread is closed.
    """
    sender = registry.queues["default"]._here().sender  # type: ignore[attr-defined]
    sender.call(lambda: connections["default"].ensure_connection(), timeout=5)

    assert sender.call(lambda: connections["default"].connection, timeout=5) is None


@pytest.mark.full
def test_a_purge_loses_no_job(ours):
    """Given a queue that was purged, when a worker process sweeps, then the jobs run."""
    rows = jobs.dispatch_many("echo", [1, 2])
    registry.queues["default"].purge()
    assert registry.queues["default"].depth() == 0

    with worker(ours):
        assert [jobs.wait(row, timeout=WAIT).result for row in rows] == [1, 2]


@pytest.mark.full
def test_a_project_with_django_dramatiq_runs_jobs_in_its_own_worker_processes(settings, redis_server, monkeypatch):
    """Given a project with django-dramatiq and its broker, and a queue without a url, when ``rundramatiq`` starts, then
    it finds our actor by itself, runs the jobs and stops in order.
    """
    monkeypatch.setattr("dramatiq.broker.global_broker", RedisBroker(url=redis_server.url))
    ours = share(settings, None)
    rows = jobs.dispatch_many("effect", [1, 2])
    ring_again(rows)

    command = ["rundramatiq", "--processes", "1", "--threads", "2", "--worker-shutdown-timeout", "1000"]
    environment = {"DJANGO_SETTINGS_MODULE": f"{__package__}.dramatiq_settings", "AIS_TEST_REDIS": redis_server.url}
    with Engine(*command, settings=ours, **environment) as process:
        process.await_ready()
        done = [jobs.wait(row, timeout=WAIT) for row in rows]
        code, said = stop(process)

    assert {row.status for row in done} == {"succeeded"}
    assert Effect.objects.count() == 2
    assert "django_ais.tasks" in said
    assert code == 0, said


@pytest.fixture
def rabbit_server() -> Iterator[RabbitServer]:
    with private(RabbitServer) as server:
        yield server


@pytest.mark.full
def test_rabbitmq_runs_jobs_once_and_outlives_its_own_restart(settings, rabbit_server):
    """Given RabbitMQ, when every message comes twice, the broker is killed and started again, and jobs are dispatched
    before, meanwhile and after, then all of them succeed, each with one effect.
    """
    ours = share(settings, rabbit_server.url)
    queue = registry.queues["default"]
    rows = jobs.dispatch_many("effect", list(range(20)))
    ring_again(rows)
    assert queue.depth() == 40

    with worker(ours) as process:
        process.await_ready()
        for row in rows:
            jobs.wait(row, timeout=WAIT)
        rabbit_server.sigkill()
        begun = time.monotonic()
        rows.append(jobs.dispatch("effect", "meanwhile"))
        took = time.monotonic() - begun
        rabbit_server.start()
        until(lambda: reached(queue), what="the broker to answer")
        rows.append(jobs.dispatch("effect", "after"))
        done = [jobs.wait(row, timeout=WAIT) for row in rows]
        code, said = stop(process)

    assert took < 6, f"dispatch took {took:.1f} s"
    assert {row.status for row in done} == {"succeeded"}
    assert sorted(Effect.objects.values_list("job_id", flat=True)) == sorted(str(row.id) for row in rows)
    assert code == 0, said


def reached(queue: Any) -> bool:
    try:
        queue.ping()
    except QueueError:
        return False
    return True
