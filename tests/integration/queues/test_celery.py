"""Celery carries the jobs: real worker processes, a real Redis, and everything that may happen to either."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="operator, union-attr"

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import redis as redis_client

from django_ais import jobs, registry
from django_ais.conformance.servers import RabbitServer, RedisServer
from django_ais.exceptions import QueueError
from django_ais.queues import QueueMessage
from tests.app.models import Effect
from tests.harness.private import private
from tests.harness.waiting import until
from tests.integration.commands import workers  # noqa: F401 (dispatching a type needs its worker)
from tests.integration.commands.processes import Gate
from tests.integration.queues.processes import ais_worker, running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database("postgres")]
WAIT = 40.0  # seconds; a loaded machine needs long to start a process

GREEN_POOL = """
from celery.concurrency.thread import TaskPool
TaskPool.__module__ = 'celery.concurrency.gevent'  # what the driver knows it by; gevent itself is not installed
"""
PROJECT = {
    "__init__.py": "from .celery import app\n",
    "settings.py": "from tests.integration.commands.settings import *\nimport os\n"
    "CELERY_BROKER_URL = os.environ['BROKER']\n",
    "celery.py": "from celery import Celery\n"
    "app = Celery('shop')\n"
    "app.config_from_object('django.conf:settings', namespace='CELERY')\n"
    "app.autodiscover_tasks()\n",
}


@pytest.fixture(scope="module")
def server():
    with private(RedisServer) as server:
        yield server


@pytest.fixture
def redis(server):
    """The server, empty, and up at the end whatever the test did to it."""
    with redis_client.Redis.from_url(server.url) as client:
        client.flushall()
    yield server
    if server._process is None or server._process.poll() is not None:
        server.start()


def settings_for(url, **more):
    """The settings that a test and its worker processes share. Only messages start jobs: nothing is announced again."""
    return {
        "QUEUES": {"default": {"BACKEND": "celery", "OPTIONS": {"broker_url": url, **more.pop("options", {})}}},
        "BUSES": {"default": "database"},
        "GATEWAYS": {"default": "scripted"},
        "LEASE_SECONDS": 2,
        "SWEEP_SECONDS": 0.3,
        "DRAIN_SECONDS": 10,
        "ENQUEUE_TIMEOUT_SECONDS": 2,
        "ANNOUNCE_AGAIN_SECONDS": 600,
        **more,
    }


@pytest.fixture
def ours(settings, redis):
    settings.DJANGO_AIS = settings_for(redis.url)
    return settings.DJANGO_AIS


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path)
    yield gate
    gate.close()


@pytest.fixture
def worker(ours, tmp_path):
    """Start a worker process by the driver's own command line; ``settings`` are laid over the test's."""

    def start(concurrency=1, **settings):
        command = registry.queues["default"].worker_command(concurrency=concurrency)
        assert command is not None
        return running(command, tmp_path, {**ours, **settings})

    return start


def _start_of(job) -> datetime:
    assert job.started_at is not None
    return job.started_at  # type: ignore[no-any-return]


def message_for(job, number):
    return QueueMessage(job_id=str(job.id), dispatch_id=f"{job.id}-{number}")


@pytest.mark.full
def test_dispatched_jobs_succeed_once_although_every_message_comes_twice(ours, tmp_path):
    """Given jobs whose messages were all sent twice, when worker processes take them, then each has its effect once."""
    made = jobs.dispatch_many("effect", list(range(20)))
    registry.queues["default"].enqueue([message_for(job, number) for number, job in enumerate(made)])
    assert registry.queues["default"].depth() == 40

    with running(ais_worker("--concurrency", "2"), tmp_path, ours) as process:
        done = [jobs.wait(job, timeout=WAIT) for job in made]
        until(lambda: registry.queues["default"].depth() == 0, what="the doubles to be taken")
        process.send(signal.SIGTERM)
        code = process.end()

    assert [job.result for job in done] == [{"said": number} for number in range(20)]
    assert Effect.objects.count() == 20
    assert code == 0, process.said
    assert "Traceback" not in process.said


@pytest.mark.parametrize("whom", ["child", pytest.param("all", marks=pytest.mark.full)])
def test_a_job_whose_process_is_killed_is_run_again(worker, gate, whom):
    """Given a running job, when its child or the whole worker process is killed, then the lease runs out, and the job
    is finished with the word that it had drawn.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker() as first:
        gate.await_entered()
        if whom == "child":
            (child,) = first.children()
            os.kill(child, signal.SIGKILL)
        else:
            first.kill()
        killed = time.monotonic()
        if whom == "child":
            gate.await_entered()
            gate.open()
            done = jobs.wait(job, timeout=WAIT)
    if whom == "all":
        with worker():
            gate.await_entered()
            gate.open()
            done = jobs.wait(job, timeout=WAIT)

    print(f"run again after {time.monotonic() - killed:.1f} s")
    assert (done.status, done.attempt) == ("succeeded", 2)


def test_a_broker_that_is_down_delays_jobs_and_not_dispatch(worker, redis):
    """Given a stopped broker, when a job is dispatched, then that is quick; once it is back, the job runs."""
    with worker():
        jobs.wait(jobs.dispatch("echo", "before"), timeout=WAIT)
        redis.stop()
        began = time.monotonic()
        job = jobs.dispatch("echo", "meanwhile")
        took = time.monotonic() - began
        redis.start()
        done = jobs.wait(job, timeout=WAIT)

    assert took < 3, f"dispatch took {took:.1f} s"
    assert done.result == "meanwhile"


@pytest.mark.full
def test_a_broker_that_lost_everything_loses_no_job(worker, redis, settings):
    """Given a dispatched job, when the broker's data are wiped, then a sweep announces it again and it runs."""
    again = {"ANNOUNCE_AGAIN_SECONDS": 1}
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, **again}
    job = jobs.dispatch("echo", "lost and found")
    redis.wipe()
    assert registry.queues["default"].depth() == 0

    with worker(**again):
        done = jobs.wait(job, timeout=WAIT)

    assert done.result == "lost and found"


@pytest.mark.full
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_stopping_worker_process_lets_its_job_end(worker, gate, redis, settings, pool):
    """Given a running job, when the worker process is asked to stop, then it takes nothing more, waits for the job and
    exits with 0.
    """
    settings.DJANGO_AIS = settings_for(redis.url, options={"pool": pool})
    job = jobs.dispatch("gated", gate.payload)
    with worker(**settings.DJANGO_AIS) as process:
        gate.await_entered()
        process.send(signal.SIGTERM)
        process.hear("Warm shutdown")
        later = jobs.dispatch("echo")
        gate.open()
        code = process.end()

    assert code == 0, process.said
    assert jobs.get(job).status == "succeeded"
    assert jobs.get(later).attempt == 0


@pytest.mark.parametrize("pool", ["prefork", pytest.param("threads", marks=pytest.mark.full)])
def test_a_job_that_outlasts_the_drain_is_handed_back(worker, gate, redis, settings, pool):
    """Given a job longer than the drain's bound, when its worker process is asked to stop, then that exits with 0 in
    time, and the job is queued again without an attempt.
    """
    settings.DJANGO_AIS = settings_for(redis.url, options={"pool": pool}, DRAIN_SECONDS=0.3)
    job = jobs.dispatch("gated", gate.payload)
    with worker(**settings.DJANGO_AIS) as process:
        gate.await_entered()
        process.send(signal.SIGTERM)
        asked = time.monotonic()
        code = process.end()
        took = time.monotonic() - asked
    handed_back = jobs.get(job)

    print(f"left after {took:.1f} s")
    assert code == 0, process.said
    assert (handed_back.status, handed_back.attempt, handed_back.deliveries) == ("queued", 0, 0)
    assert took < 8, f"it took {took:.1f} s to leave"


@pytest.mark.full
def test_a_child_that_stands_still_keeps_a_stopping_worker_process_for_a_bounded_time(worker, gate):
    """Given a child that does not move, for which Celery would wait for ever, when its worker process is asked to stop,
    then that leaves some seconds after the drain's bound, with 1, and takes the child along.
    """
    jobs.dispatch("gated", gate.payload)
    with worker(DRAIN_SECONDS=0.3) as process:
        gate.await_entered()
        children = process.children()
        for child in children:
            os.kill(child, signal.SIGSTOP)
        process.send(signal.SIGTERM)
        code = process.end()

    assert code == 1, process.said
    assert "stopped at once" in process.said
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), what="the children to be gone")


@pytest.mark.full
def test_a_second_signal_stops_at_once(worker, gate):
    """Given a worker process that waits for its job, when it is asked a second time, then it leaves at once."""
    jobs.dispatch("gated", gate.payload)
    with worker(DRAIN_SECONDS=600) as process:
        gate.await_entered()
        process.send(signal.SIGTERM)
        process.hear("Warm shutdown")
        asked = time.monotonic()
        process.send(signal.SIGTERM)
        code = process.end()

    assert code == 128 + signal.SIGTERM, process.said
    assert time.monotonic() - asked < 5


def test_the_projects_own_worker_processes_take_jobs(redis, settings, tmp_path):
    """Given a project with a Celery app, when its usual command names our queue, then jobs run in it."""
    settings.DJANGO_AIS = settings_for(redis.url, options={"queue": "default"})
    project = tmp_path / "shop"
    project.mkdir()
    for name, text in PROJECT.items():
        (project / name).write_text(text)
    theirs = settings_for(redis.url) | {"QUEUES": {"default": {"BACKEND": "celery", "OPTIONS": {"queue": "default"}}}}
    environment = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "shop.settings", "BROKER": redis.url}

    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-Q", "default", "-c", "1"]
    with running(command, tmp_path, theirs, **environment) as process:
        done = jobs.wait(jobs.dispatch("echo", "theirs"), timeout=WAIT)
        process.send(signal.SIGTERM)
        code = process.end()

    assert done.result == "theirs"
    assert code == 0, process.said


def test_a_pool_of_green_threads_is_refused(ours, tmp_path):
    """Given a job, when a worker process is started with a gevent pool, then it says why not and takes nothing."""
    job = jobs.dispatch("echo")
    (tmp_path / "green.py").write_text(GREEN_POOL)
    command = [
        *[sys.executable, "-m", "celery", "-A", "django_ais.contrib.celery:default"],
        *["worker", "-Q", "ais.default", "-P", "custom"],
    ]
    custom = {"CELERY_CUSTOM_WORKER_POOL": "green:TaskPool", "PYTHONPATH": str(tmp_path)}

    with running(command, tmp_path, ours, **custom) as process:
        code = process.end()

    assert code != 0
    assert "-P gevent" in process.said
    assert jobs.get(job).attempt == 0


@pytest.mark.full
def test_the_most_urgent_messages_are_taken_first(worker):
    """Given messages of four priorities, when one slot takes them, then the most urgent jobs start first."""
    made = {priority: jobs.dispatch("echo", priority, priority=priority) for priority in (0, -5, 5, 90)}

    with worker():
        done = [jobs.wait(job, timeout=WAIT) for job in made.values()]

    started = sorted(done, key=_start_of)
    assert [job.payload for job in started] == [90, 5, 0, -5]


@pytest.mark.full
def test_a_handler_that_cannot_look_is_asked_again(worker, settings):
    """Given a message that the handler puts off, when its time comes, then it is delivered again: nothing is lost."""
    options = {"broker_url": settings.DJANGO_AIS["QUEUES"]["default"]["OPTIONS"]["broker_url"]}
    stumbling = "tests.integration.queues.drivers.Stumbling"
    queues = {"default": {"BACKEND": stumbling, "OPTIONS": options}}
    job = jobs.dispatch("echo", "in the end")

    with worker(QUEUES=queues):
        done = jobs.wait(job, timeout=WAIT)

    assert done.result == "in the end"
    assert done.started_at - done.created_at > timedelta(seconds=1)


def test_a_frozen_broker_holds_nobody_up(redis, ours):
    """Given a broker that takes connections and answers nothing, when messages are enqueued, then that ends in time."""
    queue = registry.queues["default"]
    queue.enqueue([QueueMessage(job_id="a", dispatch_id="a-1")])
    redis.freeze()
    try:
        for number in (2, 3):  # over the connection that is there, and over a new one
            began = time.monotonic()
            with pytest.raises(QueueError):
                queue.enqueue([QueueMessage(job_id="a", dispatch_id=f"a-{number}")], timeout=1)
            assert time.monotonic() - began < 2
    finally:
        redis.thaw()
    queue._breaker.succeeded()

    queue.enqueue([QueueMessage(job_id="a", dispatch_id="a-4")])


def test_what_the_running_redis_would_lose_is_told(redis, ours):
    """Given a Redis that evicts, when it is probed, then that is said."""
    queue = registry.queues["default"]
    assert queue.probe() == []

    with redis_client.Redis.from_url(redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        told = queue.probe()
        client.config_set("maxmemory-policy", "noeviction")

    assert [sentence.split(":")[0] for sentence in told] == ["Redis evicts messages when it is full"]


@pytest.mark.full
def test_a_child_that_is_asked_to_go_hands_its_job_back(worker, gate, ours):
    """Given a running job, when its child alone gets SIGTERM, then the job is handed back and run by the next child."""
    job = jobs.dispatch("gated", gate.payload)
    with worker(DRAIN_SECONDS=0.3) as process:
        gate.await_entered()
        (child,) = process.children()
        os.kill(child, signal.SIGTERM)
        gate.await_entered()
        gate.open()
        done = jobs.wait(job, timeout=WAIT)

    assert (done.status, done.attempt) == ("succeeded", 1)


@pytest.mark.full
def test_a_child_that_is_asked_to_go_finishes_its_job_and_goes(worker, gate):
    """Given a running job, when its child alone gets SIGTERM and the job ends in time, then another child follows."""
    first = jobs.dispatch("gated", gate.payload)
    with worker() as process:
        gate.await_entered()
        (child,) = process.children()
        os.kill(child, signal.SIGTERM)
        gate.open()
        jobs.wait(first, timeout=WAIT)
        done = jobs.wait(jobs.dispatch("echo", "next"), timeout=WAIT)
        until(lambda: process.children() not in ([], [child]), what="another child")

    assert done.result == "next"


def test_jobs_run_through_rabbitmq(settings, tmp_path):
    """Given RabbitMQ with priorities, when jobs are dispatched, then they run, the most urgent first."""
    with private(RabbitServer) as rabbit:
        settings.DJANGO_AIS = settings_for(rabbit.url, options={"max_priority": 10})
        made = {priority: jobs.dispatch("echo", priority, priority=priority) for priority in (0, -50, 50)}
        assert registry.queues["default"].depth() == 3
        with running(ais_worker("--concurrency", "1"), tmp_path, settings.DJANGO_AIS) as process:
            done = [jobs.wait(job, timeout=WAIT) for job in made.values()]
            process.send(signal.SIGTERM)
            code = process.end()

    assert [job.payload for job in sorted(done, key=_start_of)] == [50, 0, -50], process.said
    assert code == 0, process.said
