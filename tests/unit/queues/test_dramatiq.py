"""The dramatiq driver without a server: what it sends, what it does with the handler's answers, what it says."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import MiddlewareError

from django_ais.backends.queue.dramatiq import DramatiqQueue, brokers, driver
from django_ais.backends.queue.dramatiq.process import ProcessLife
from django_ais.exceptions import ConfigurationError, PartialEnqueueError, QueueError, UnsupportedFeature
from django_ais.queues import ACK, Disposition, Outcome, QueueMessage, retry_in
from tests.app.behaviour_workers import settings_of
from tests.harness.waiting import until
from tests.harness.wording import words

HERE = __name__
answers: list[Any] = []  # what the handler answers next; ACK when they are used up
handled: list[tuple[str, float]] = []


def handler(job_id: str) -> Outcome:
    handled.append((job_id, time.monotonic()))
    answer = answers.pop(0) if answers else ACK
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture(autouse=True)
def nothing_handled() -> Iterator[None]:
    yield
    answers.clear()
    handled.clear()


@pytest.fixture(params=[None, []], ids=["usual", "bare"])
def project(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StubBroker:
    """The broker that a project has set, with dramatiq's usual middleware or with none."""
    broker = StubBroker(middleware=request.param)
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)
    return broker


@pytest.fixture
def no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dramatiq.broker.global_broker", None)


@pytest.fixture
def queue(project: StubBroker) -> Iterator[DramatiqQueue]:
    queue = queue_of()
    yield queue
    queue.close()


def queue_of(alias: str = "default", *, host: str = "", handler: str = f"{HERE}.handler", **options: Any) -> Any:
    return DramatiqQueue(alias, options, handler=handler, host=host)


def messages(count: int, **fields: Any) -> list[QueueMessage]:
    return [QueueMessage(job_id=f"job-{n}", dispatch_id=f"job-{n}-a", **fields) for n in range(count)]


@contextmanager
def worker_process(broker: StubBroker) -> Iterator[None]:
    """What a worker process runs, in threads of this one."""
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=2)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def dead(broker: StubBroker) -> list[str]:
    return [message.message_id for message in broker.dead_letters_by_queue["ais.default"]]


# -- what is sent


def test_a_message_carries_the_job_alone_under_its_dispatch_id(queue, project):
    """Given two messages, when they are enqueued, then the broker has them under their dispatch ids, in JSON."""
    queue.enqueue(messages(2))

    sent = [dramatiq.Message.decode(project.queues["ais.default"].get_nowait()) for _ in range(2)]
    assert [(one.message_id, one.args, one.options) for one in sent] == [
        ("job-0-a", ("job-0",), {}),
        ("job-1-a", ("job-1",), {}),
    ]


def test_what_the_engine_cannot_do_is_refused(queue, project):
    """Given flags that deny priorities and delays, when a message asks for one, then nothing at all is sent."""
    for fields in ({"priority": 1}, {"run_after": datetime.now(UTC)}):
        with pytest.raises(UnsupportedFeature):
            queue.enqueue([*messages(1), *messages(1, **fields)])

    assert not queue.supports_priority
    assert not queue.supports_run_after
    assert "ais.default" not in project.queues


def test_a_broker_that_breaks_in_the_middle_took_the_first_messages(queue, project, monkeypatch):
    """Given a broker that fails at the third message, when four are enqueued, then the error tells two and two."""
    take = project.enqueue

    def enqueue(message: Any, **more: Any) -> Any:
        if message.message_id == "job-2-a":
            raise ConnectionClosed("gone")
        return take(message, **more)

    monkeypatch.setattr(project, "enqueue", enqueue)

    with pytest.raises(PartialEnqueueError) as caught:
        queue.enqueue(messages(4))

    assert (caught.value.accepted, caught.value.failed) == (("job-0-a", "job-1-a"), ("job-2-a", "job-3-a"))


def test_a_broker_that_hangs_holds_nobody_longer_than_the_timeout(queue, project, monkeypatch):
    """Given a broker that does not answer, when two messages and then another are enqueued, then both calls return in
    time; what became of the first message is unknown, and the others are never sent.
    """
    opened, sent = threading.Event(), []

    def enqueue(message: Any, **more: Any) -> None:
        assert opened.wait(20)
        sent.append(message.message_id)

    monkeypatch.setattr(project, "enqueue", enqueue)
    *batch, later = messages(3)
    begun = time.monotonic()

    with pytest.raises(QueueError) as hanging:
        queue.enqueue(batch, timeout=1)
    with pytest.raises(QueueError) as behind:
        queue.enqueue([later], timeout=0.1)

    assert time.monotonic() - begun < 5
    assert (hanging.value.outcome, behind.value.outcome) == ("unknown", "rejected")
    opened.set()
    queue._here().sender.call(lambda: None, timeout=5)  # behind all the others
    assert sent == ["job-0-a"]


def test_a_sending_thread_that_is_stuck_is_replaced(queue, project, monkeypatch):
    """Given a thread that a broker never answers, when it is stuck for too long, then another one sends."""
    monkeypatch.setattr("django_ais.backends.queue.dramatiq.sending.STUCK_SECONDS", 0.1)
    opened = threading.Event()
    with pytest.raises(QueueError):
        queue._here().sender.call(lambda: opened.wait(20), timeout=0.01)
    time.sleep(0.15)

    queue.enqueue(messages(1), timeout=1.0)

    opened.set()
    assert project.queues["ais.default"].qsize() == 1


# -- what becomes of a delivery


def test_a_message_is_acknowledged_when_the_handler_said_so(queue, project):
    queue.enqueue(messages(3))

    with worker_process(project):
        project.join("ais.default", timeout=5000)

    assert sorted(job_id for job_id, _ in handled) == ["job-0", "job-1", "job-2"]
    assert dead(project) == []


@pytest.mark.parametrize(
    "answer", [retry_in(0.3), RuntimeError("a broken deploy")], ids=["asked for", "after an error"]
)
def test_a_message_comes_again_not_before_its_time(queue, project, monkeypatch, answer):
    """Given a handler that asks for a message again, or breaks, when it is delivered, then the same message comes
    again, not before the delay, and is never lost.
    """
    monkeypatch.setattr(driver, "BROKEN_SECONDS", 0.3)
    answers.append(answer)
    queue.enqueue(messages(1))

    with worker_process(project):
        until(lambda: len(handled) == 2, what="a second delivery")

    (first, begun), (second, again) = handled
    assert (first, second) == ("job-0", "job-0")
    assert again - begun >= 0.3
    assert dead(project) == []


def test_a_rejected_message_is_kept_among_the_dead_letters(queue, project):
    answers.append(Outcome(Disposition.REJECT))
    queue.enqueue(messages(1))

    with worker_process(project):
        until(lambda: dead(project) == ["job-0-a"], what="a dead letter")

    assert len(handled) == 1


def test_a_message_that_cannot_be_taken_back_is_not_acknowledged(queue, project, monkeypatch):
    """Given a broker that takes nothing back, when the handler asks for a message again, then it is kept as dead."""
    answers.append(retry_in(0.1))
    queue.enqueue(messages(1))

    def refuse(*args: Any, **more: Any) -> None:
        raise ConnectionClosed("gone")

    monkeypatch.setattr(project, "enqueue", refuse)
    with worker_process(project):
        until(lambda: dead(project) == ["job-0-a"], what="a dead letter")


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ({"no": "id"},), (None,)])
def test_junk_reaches_the_handler_as_text_or_is_kept_as_dead(queue, project, arguments):
    """Given a message that we did not write, when it is delivered, then the worker process goes on."""
    queue.register_task()
    junk: dramatiq.Message[None] = dramatiq.Message(
        queue_name="ais.default", actor_name=queue.actor_name, args=arguments, kwargs={}, options={}, message_id="junk"
    )
    project.enqueue(junk)
    queue.enqueue(messages(1))

    with worker_process(project):
        until(lambda: "job-0" in [job_id for job_id, _ in handled], what="the message behind it")
        project.join("ais.default", timeout=5000, fail_fast=False)

    assert dead(project) == ([] if len(arguments) == 1 else ["junk"])
    assert {type(job_id) for job_id, _ in handled} == {str}


# -- the broker


def test_the_actor_of_a_project_has_no_retries_and_no_limits(monkeypatch):
    """Given a project's broker with dramatiq's own middleware, when our actor is declared, then it is off for it."""
    monkeypatch.setattr("dramatiq.broker.global_broker", StubBroker())
    queue = queue_of()

    options = queue.broker.actors[queue.actor_name].options

    assert options == {"max_retries": 0, "time_limit": float("inf"), "max_age": None, "notify_shutdown": False}


def test_the_projects_broker_is_used_unless_an_address_is_given(project):
    assert queue_of().broker is project
    own = queue_of("other", url="redis://127.0.0.1:1/0").broker
    assert own is not project
    assert (own.namespace, own.heartbeat_timeout, own.maintenance_chance) == ("ais", 60_000, 100_000)


def test_our_own_broker_is_not_taken_for_the_projects(no_project, monkeypatch):
    """Given a process whose global broker we set, when another alias looks for the project's, then there is none."""
    first = queue_of(url="redis://127.0.0.1:1/0")
    monkeypatch.setattr("dramatiq.broker.global_broker", first.broker)

    assert brokers.project_broker() is None


def test_what_was_declared_is_gone_after_close(queue, project):
    """Given two drivers on one broker, when each is closed, then its actor is gone; with the last, all of ours."""
    other = queue_of("other")
    before = len(project.middleware)
    queue.register_task()
    other.register_task()
    assert len(project.middleware) == before + 1

    queue.close()
    assert set(project.actors) == {other.actor_name}
    other.close()
    other.close()

    assert project.actors == {}
    assert len(project.middleware) == before


def test_a_child_has_a_sending_thread_of_its_own(queue, project):
    """Given a driver that has sent, when the process forks, then the child sends with what it makes itself."""
    queue.enqueue(messages(1))
    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of forking beside threads
        pid = os.fork()
    if pid == 0:
        try:
            queue.enqueue(messages(2), timeout=2.0)
            os.write(writing, str(project.queues["ais.default"].qsize()).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read() == "3"


def test_an_address_for_pika_gets_bounds():
    """Given an address, when it is made ready for pika, then waits are bounded, except where it says otherwise."""
    address = brokers.with_defaults("amqp://me:secret@host:5672//?heartbeat=7")

    assert address.startswith("amqp://me:secret@host:5672?")
    assert "heartbeat=7" in address
    assert "blocked_connection_timeout=5" in address


def test_a_refusal_of_rabbitmqs_is_told_from_a_lost_connection(queue):
    """Given that dramatiq wraps what pika raises, when it is translated, then what is wrapped decides the outcome."""
    from pika.exceptions import ChannelClosedByBroker, StreamLostError

    refused = queue.translate(ConnectionClosed(ChannelClosedByBroker(406, "PRECONDITION_FAILED")))
    lost = queue.translate(ConnectionClosed(StreamLostError("lost")))

    assert (refused.outcome, lost.outcome) == ("rejected", "unknown")
    assert "406" in str(refused)


# -- options, commands, warnings


@pytest.mark.parametrize("name", ["1st", "a b", "", "mine.DQ", "mine.XQ", "naïve"])
def test_a_name_that_dramatiq_would_refuse_is_refused_at_once(name):
    with pytest.raises(ConfigurationError, match=words("OPTIONS of 'default'", "queue", "no queue name")):
        queue_of(queue=name)


def test_an_alias_that_makes_no_name_is_told_what_to_do():
    with pytest.raises(ConfigurationError, match=words("'low priority'", "OPTIONS['queue']")):
        queue_of("low priority")
    assert queue_of("low priority", queue="low").queue_name == "low"


def test_an_address_of_another_kind_is_refused_without_its_password():
    with pytest.raises(ConfigurationError, match=words("url", "redis://")) as caught:
        queue_of(url="postgres://me:secret@host/db")
    assert "secret" not in str(caught.value)


def test_the_worker_command_is_dramatiqs_own():
    command = queue_of("fast", queue="quick", processes=3).worker_command(concurrency=5)

    assert command == [
        *(sys.executable, "-m", "dramatiq", "django_ais.contrib.dramatiq:fast"),
        *("-p", "3", "-t", "5", "-Q", "quick", "--worker-shutdown-timeout", "1000"),
    ]


def test_a_check_warns_of_a_broker_that_nobody_named(no_project):
    (sentence,) = queue_of().check()

    assert "redis://localhost:6379/0" in sentence
    assert queue_of(url="redis://localhost:6379/0").check() == []


def test_a_check_warns_of_rabbitmq_without_confirms(monkeypatch):
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url="amqp://127.0.0.1")
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)
    assert "confirm_delivery=True" in " ".join(queue_of().check())

    broker.confirm_delivery = True
    assert queue_of().check() == []


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("redis://10.0.0.7/0", True),
        ("amqp://guest:guest@broker.example:5672/", True),
        ("redis://me:secret@10.0.0.7/0", False),
        ("rediss://10.0.0.7/0", False),
        ("redis://127.0.0.1:6379/0", False),
        ("redis://localhost", False),
    ],
)
def test_a_check_warns_of_an_open_broker_on_another_machine(url, is_open):
    assert any("another machine" in sentence for sentence in queue_of(url=url).check()) is is_open


def test_a_probe_tells_of_a_redis_that_forgets(monkeypatch):
    """Given a Redis that evicts and saves nothing, when it is probed, then each is a sentence; else nothing is said."""
    info = {"maxmemory": 1, "maxmemory_policy": "allkeys-lru", "aof_enabled": 0}
    client = SimpleNamespace(
        ping=lambda: True, info=lambda: info, config_get=lambda name: {name: ""}, close=lambda: None
    )
    queue = queue_of(url="redis://127.0.0.1:1/0")
    monkeypatch.setattr(queue.broker, "client", client)

    evicts, forgets = queue.probe()

    assert "allkeys-lru" in evicts
    assert "appendonly" in forgets
    info.update(maxmemory_policy="noeviction", aof_enabled=1)
    assert queue.probe() == []


# -- a worker process


class HostDouble:
    """The core's side, which writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuses = False

    def start(self) -> None:
        if self.refuses:
            raise ConfigurationError("This process is patched by gevent")
        self.told.append("start")

    def drain(self, seconds: float | None = None) -> int:
        self.told.append("drain")
        return 0

    def stop(self) -> None:
        self.told.append("stop")


host = HostDouble()


@pytest.fixture
def hosted(project: StubBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubBroker]:
    monkeypatch.setattr(f"{HERE}.host", HostDouble())
    queue = queue_of(host=f"{HERE}.host")
    queue.register_task()
    yield project
    queue.close()


def test_a_worker_process_begins_to_sweep_drains_and_stops(hosted):
    with worker_process(hosted):
        assert host.told == ["start"]

    assert host.told == ["start", "drain", "stop"]


def test_a_worker_process_that_cannot_run_jobs_does_not_begin(hosted):
    """Given a process that the core refuses, when its worker is started, then that fails before a message is taken."""
    host.refuses = True

    with pytest.raises(MiddlewareError, match="gevent"):
        dramatiq.Worker(hosted).start()


def test_nothing_more_is_taken_while_a_process_drains(hosted, monkeypatch):
    """Given waiting messages, when a worker process drains, then its threads take none of them."""
    worker = dramatiq.Worker(hosted, worker_timeout=20, worker_threads=2)
    worker.start()

    def drain() -> int:
        for thread in worker.workers:
            thread.join(5)
        queue_of().enqueue(messages(3))
        return 0

    monkeypatch.setattr(host, "drain", drain)
    worker.stop()

    assert handled == []


def test_a_queue_of_ours_is_asked_for_often_and_hoards_nothing():
    """Given a broker of our own, when a worker boots, then it polls every 100 ms and fetches no more than its threads
    can run; a project's own worker is left as it is.
    """
    life = ProcessLife(lambda: None)
    ours = SimpleNamespace(worker_timeout=1000, queue_prefetch=16, worker_threads=8)
    theirs = SimpleNamespace(worker_timeout=1000, queue_prefetch=16, worker_threads=8)

    life.before_worker_boot(queue_of(url="redis://127.0.0.1:1/0").broker, ours)
    life.before_worker_boot(StubBroker(), theirs)

    assert (ours.worker_timeout, ours.queue_prefetch) == (100, 8)
    assert (theirs.worker_timeout, theirs.queue_prefetch) == (1000, 16)


# -- the module of dramatiq's command line


@pytest.fixture
def command_line(settings, no_project, monkeypatch):
    settings.DJANGO_AIS = settings_of("dramatiq", OPTIONS={"url": "redis://127.0.0.1:1/0"})
    monkeypatch.delitem(sys.modules, "django_ais.contrib.dramatiq", raising=False)
    return lambda: importlib.import_module("django_ais.contrib.dramatiq")


def test_the_command_line_finds_the_broker_with_and_without_an_alias(command_line):
    module = command_line()

    broker = module.default
    assert brokers.is_own(broker)
    assert dramatiq.get_broker() is broker
    assert "django_ais:ais.default" in broker.actors
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = module.nonesuch


def test_the_command_line_without_such_a_queue_ends_with_a_reason(command_line, settings):
    settings.DJANGO_AIS = settings_of("memory")

    with pytest.raises(ConfigurationError, match="uses dramatiq"):
        command_line()


def test_the_command_line_refuses_gevent(command_line, monkeypatch):
    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched=lambda name: True))

    with pytest.raises(ConfigurationError, match="gevent"):
        command_line()
