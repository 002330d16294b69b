"""The `rq` driver and a Redis, without worker processes: what is sent, taken back, held back and kept."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

from django_ais.backends.queue.rq import CALL_SECONDS, RqQueue
from django_ais.exceptions import QueueError
from django_ais.queues import ACK, Disposition, Outcome, QueueMessage, retry_in
from tests.harness.waiting import until

pytestmark = pytest.mark.one_database("postgres")

answers: list[Outcome | Exception] = []  # what the handler says to the next messages; an exception is raised
handled: list[str] = []


def handle(job_id):
    """The handler of these tests."""
    handled.append(job_id)
    answer = answers.pop(0) if answers else ACK
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture
def queue(redis_server, monkeypatch):
    answers.clear()
    handled.clear()
    driver = RqQueue("default", {"url": redis_server.url}, handler=f"{__name__}.handle")
    monkeypatch.setattr("django_ais.registry.queues", {"default": driver})
    yield driver
    driver.close()


@pytest.fixture
def inside(redis_server):
    """RQ's own view of the queue."""
    client = redis.Redis.from_url(redis_server.url)
    yield Queue("ais.default", connection=client, serializer=JSONSerializer)
    client.close()


def send(queue, *numbers):
    queue.enqueue([QueueMessage(job_id=f"job{number}", dispatch_id=f"job{number}-1") for number in numbers])


class WorkerHere(SimpleWorker):
    """Runs jobs in this process, and leaves the alarm to pytest's own time limit."""

    death_penalty_class = TimerDeathPenalty


def work(inside):
    """Run what waits, in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    worker = WorkerHere([inside], connection=inside.connection, serializer=JSONSerializer)
    try:
        worker.work(burst=True, logging_level="CRITICAL")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_messages_are_json_without_time_limit_or_result(queue, inside):
    """Given sent messages, when RQ's books are read, then they hold JSON, our ids, and none of RQ's own limits."""
    send(queue, 1, 2)

    jobs = inside.get_jobs()
    assert [job.id for job in jobs] == ["job1-1", "job2-1"]
    assert [job.args for job in jobs] == [["default", "job1"], ["default", "job2"]]
    assert {(job.func_name, job.timeout, job.result_ttl, job.retries_left) for job in jobs} == {
        ("django_ais.backends.queue.rq.run", -1, 0, 3)
    }


def test_a_batch_is_one_round_trip(queue, inside):
    """Given 500 messages, when they are sent, then Redis has seen one transaction."""
    before = inside.connection.info("commandstats").get("cmdstat_exec", {"calls": 0})["calls"]

    send(queue, *range(500))

    assert inside.connection.info("commandstats")["cmdstat_exec"]["calls"] == before + 1
    assert queue.depth() == 500


def test_what_was_handled_leaves_nothing_behind(queue, inside):
    send(queue, 1)

    work(inside)

    assert handled == ["job1"]
    assert inside.connection.keys("rq:*job1*") == []
    assert queue.depth() == 0


def test_a_message_to_come_again_comes_not_before_its_time(queue, inside):
    """Given a handler that asks for the message again, when time passes, then it comes once more, and not too soon."""
    answers.append(retry_in(0.4))
    send(queue, 1)
    asked = time.monotonic()
    work(inside)

    assert queue.depth() == 0
    while not queue.deliver_due():
        assert time.monotonic() - asked < 5
        time.sleep(0.02)
    waited = time.monotonic() - asked
    work(inside)

    assert handled == ["job1", "job1"]
    assert waited >= 0.4
    assert queue.deliver_due() == queue.depth() == 0


def test_several_processes_deliver_what_is_due_once(queue, redis_server, inside, monkeypatch):
    """Given a message that is due, when two processes have both seen it, then it comes into the queue once."""
    answers.append(retry_in(0.0))
    send(queue, 1)
    work(inside)
    until(
        lambda: time.time() > inside.connection.zrange(scheduled(inside), 0, 0, withscores=True)[0][1], what="its time"
    )
    other = RqQueue("default", {"url": redis_server.url}, handler="x.y")
    client = queue._client(CALL_SECONDS)
    look = client.zrangebyscore

    def look_and_be_overtaken(*args, **kwargs):
        found = look(*args, **kwargs)
        assert other.deliver_due() == 1
        return found

    monkeypatch.setattr(client, "zrangebyscore", look_and_be_overtaken)

    assert queue.deliver_due() == 0
    other.close()
    assert queue.depth() == 1


def scheduled(inside):
    return inside.scheduled_job_registry.key


def test_a_handler_that_raises_does_not_cost_the_message(queue, inside):
    """Given a handler that raises, when RQ has run the message, then it is kept for later."""
    answers.append(RuntimeError("a broken deploy"))
    send(queue, 1)

    work(inside)

    (kept,) = inside.scheduled_job_registry.get_job_ids()
    due = inside.scheduled_job_registry.get_scheduled_time(kept)
    assert kept.startswith("job1-")
    assert timedelta(seconds=5) < due - datetime.now(UTC) < timedelta(seconds=15)


def test_a_rejected_message_is_dropped(queue, inside):
    answers.append(Outcome(Disposition.REJECT))
    send(queue, 1)

    work(inside)

    assert inside.connection.keys("rq:job:*") == []


def test_an_alias_that_the_process_does_not_know_keeps_the_message(queue, inside, monkeypatch):
    """Given a worker process of other settings, when it takes a message, then RQ keeps it among the failed."""
    send(queue, 1)
    monkeypatch.setattr("django_ais.registry.queues", {})

    work(inside)

    assert inside.failed_job_registry.get_job_ids() == ["job1-1"]


def test_waiting_messages_are_taken_back(queue, inside):
    """Given messages, when some are taken back, then only the others are delivered."""
    send(queue, 1, 2, 3)

    queue.cancel(["job1-1", "job3-1", "unknown"])
    work(inside)

    assert handled == ["job2"]
    assert inside.connection.keys("rq:job:*") == []


def test_a_purge_drops_what_waits_and_what_is_held_back(queue, inside):
    answers.append(retry_in(60.0))
    send(queue, 1)
    work(inside)
    send(queue, 2, 3)

    queue.purge()

    assert queue.depth() == 0
    assert inside.connection.keys("rq:job:*") == []
    assert inside.scheduled_job_registry.get_job_ids() == []


@pytest.mark.parametrize("call", [lambda queue: send(queue, 1), lambda queue: queue.ping(timeout=1.0)])
def test_a_redis_that_does_not_answer_is_left_in_time(queue, redis_server, call):
    """Given a Redis that stands still, when it is called, then the error comes within the timeout."""
    queue.ping()
    redis_server.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(QueueError, match="TimeoutError") as raised:
            call_within_a_second(queue, call)
        took = time.monotonic() - began
    finally:
        redis_server.thaw()

    assert raised.value.outcome == "unknown"
    assert took < 2.0


def call_within_a_second(queue, call):
    real = queue.enqueue
    queue.enqueue = lambda messages: real(messages, timeout=1.0)
    call(queue)


def test_a_probe_tells_of_a_redis_that_forgets(queue, inside):
    """Given a Redis that may evict keys and keeps nothing on disk, when it is probed, then both are said."""
    assert queue.probe() == []
    inside.connection.config_set("maxmemory-policy", "allkeys-lru")
    inside.connection.config_set("appendonly", "no")
    try:
        found = queue.probe()
    finally:
        inside.connection.config_set("maxmemory-policy", "noeviction")
        inside.connection.config_set("appendonly", "yes")
        until(lambda: not inside.connection.info("persistence")["aof_rewrite_in_progress"], what="the new file")

    assert [word in sentence for word, sentence in zip(["allkeys-lru", "appendonly"], found, strict=True)] == [True] * 2


def test_a_probe_tells_of_rq_workers_that_take_from_several_queues(queue, inside):
    worker = SimpleWorker(["ais.default", "mail"], connection=inside.connection, name="both")
    worker.register_birth()

    assert ["both" in sentence for sentence in queue.probe()] == [True]
