"""The NATS driver by itself, on a real server: what it promises before any job is a row."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from django_ais.backends.queue.nats import NatsQueue
from django_ais.exceptions import QueueError
from django_ais.queues import ACK, Disposition, Outcome, QueueMessage, retry_in
from tests.harness.waiting import until
from tests.integration.queues.nats_server import names, nats_server, shared_server  # noqa: F401 (fixtures)

pytestmark = pytest.mark.one_database("postgres")

HANDLER = f"{__name__}.handle"
LONG = 10.0  # seconds

_numbers = itertools.count(1)
answers: dict[str, Callable[[], Outcome]] = {}
heard: SimpleQueue[str] = SimpleQueue()


def handle(job_id: str) -> Outcome:
    heard.put(job_id)
    return answers.get(job_id, lambda: ACK)()


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    yield
    answers.clear()
    while not heard.empty():
        heard.get()


@pytest.fixture
def queue(nats_server) -> Iterator[NatsQueue]:  # noqa: F811
    queue = queue_with(names(nats_server))
    yield queue
    queue.close()


def queue_with(options: dict[str, Any], alias: str = "default") -> NatsQueue:
    return NatsQueue(alias, options, handler=HANDLER)


def message(job_id: str) -> QueueMessage:
    return QueueMessage(job_id=job_id, dispatch_id=f"{job_id}-{next(_numbers)}")


@contextmanager
def consumed(queue: NatsQueue, *, concurrency: int = 2) -> Iterator[None]:
    """A worker process's loop, in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=queue.run_worker, kwargs={"concurrency": concurrency, "stop": stop})
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LONG)
        assert not thread.is_alive()


def next_heard() -> str:
    return heard.get(timeout=LONG)


def nothing_heard(seconds: float) -> bool:
    try:
        heard.get(timeout=seconds)
    except Empty:
        return True
    return False


def unanswered(options: dict[str, Any]) -> int:
    """How many messages the stream still holds, delivered or not."""

    async def ask() -> int:
        import nats

        client = await nats.connect(options["url"])
        info = await client.jetstream().stream_info(options["stream"])
        await client.close()
        return info.state.messages

    return asyncio.run(ask())


# -- messages


def test_what_is_sent_waits_is_counted_and_delivered_once(queue):
    """Given messages of a batch, when they are consumed, then each is heard once and nothing is left of them."""
    queue.enqueue([message(str(number)) for number in range(1200)])  # more than a batch
    before = queue.depth()

    with consumed(queue):
        said = [next_heard() for _ in range(1200)]
        until(lambda: unanswered(queue.options.model_dump()) == 0, what="all to be acknowledged")

    assert before == 1200
    assert sorted(map(int, said)) == list(range(1200))
    assert heard.empty()


def test_purging_drops_what_waits_for_this_queue_alone(queue):
    """Given two queues of one stream, when one is purged, then the other keeps its messages."""
    other = queue_with({**queue.options.model_dump(), "subject": f"{queue.subject}.other"}, "other")
    queue.enqueue([message("a")])
    other.enqueue([message("b")])

    queue.purge()

    assert (queue.depth(), other.depth()) == (0, 1)
    other.close()


def test_a_message_of_the_same_id_is_taken_once(queue):
    """Given a message that was sent, when it is sent again under its own id, then the server keeps one."""
    ring = message("once")

    queue.enqueue([ring])
    queue.enqueue([ring])

    assert queue.depth() == 1


def test_an_idle_consumer_hears_at_once(queue):
    """Given a consumer with free slots that has waited, when a message comes, then it does not wait for the others
    that were asked for.
    """
    with consumed(queue, concurrency=8):
        queue.enqueue([message("warm")])
        next_heard()
        times = []
        for number in range(5):
            sent = time.monotonic()
            queue.enqueue([message(str(number))])
            next_heard()
            times.append(time.monotonic() - sent)

    print("sent to heard, ms:", [round(seconds * 1000, 1) for seconds in times])
    assert sorted(times)[2] < 0.3


# -- answers


def test_a_retry_comes_again_after_its_delay_and_not_before(queue):
    again = iter([retry_in(1.0), ACK])
    answers["later"] = lambda: next(again)
    queue.enqueue([message("later")])

    with consumed(queue):
        next_heard()
        first = time.monotonic()
        assert next_heard() == "later"
        waited = time.monotonic() - first

    assert 0.9 < waited < 4


def test_what_is_rejected_is_gone(queue):
    answers["bad"] = lambda: Outcome(Disposition.REJECT)
    queue.enqueue([message("bad")])

    with consumed(queue):
        next_heard()
        until(lambda: unanswered(queue.options.model_dump()) == 0, what="it to be gone")

    assert heard.empty()


@pytest.mark.parametrize("touched", [True, False])
def test_a_long_job_is_extended_and_so_delivered_once(nats_server, touched):  # noqa: F811
    """Given a job longer than `ack_wait_seconds`, when it is extended meanwhile, then nobody else gets its message;
    without, somebody does.
    """
    queue = queue_with({**names(nats_server), "ack_wait_seconds": 1})
    if not touched:
        queue.touch_seconds = 60.0  # type: ignore[misc]
    ended = threading.Event()
    answers["long"] = lambda: ACK if ended.wait(LONG) else retry_in(0)
    queue.enqueue([message("long")])

    with consumed(queue):
        next_heard()
        was_alone = nothing_heard(3.0)
        ended.set()

    assert was_alone is touched


def test_what_a_dead_consumer_held_is_delivered_to_another(nats_server):  # noqa: F811
    """Given a message that a consumer took and never answered, when its time is up, then another one hears it."""
    queue = queue_with({**names(nats_server), "ack_wait_seconds": 1})
    queue.enqueue([message("lost")])
    (taken,) = queue._reserve(limit=1, timeout=LONG)
    queue.close()

    with consumed(queue):
        assert next_heard() == taken.job_id == "lost"


def test_a_stopping_consumer_gives_back_what_comes_too_late(queue):
    """Given a consumer whose request for messages still stands, when it stops and a message comes, then the message is
    another's within moments, not after `ack_wait_seconds`.
    """
    queue.ping()  # the connection is older than the consumer
    queue._link.stopping = stop = threading.Event()
    assert queue._reserve(limit=1, timeout=0.05) == []
    other = queue_with(queue.options.model_dump())

    stop.set()
    other.enqueue([message("late")])
    until(lambda: other.depth() == 0, what="the message to be delivered to the one that stops")
    (taken,) = other._reserve(limit=1, timeout=LONG)

    assert taken.job_id == "late"
    assert queue._reserve(limit=1, timeout=0.05) == []
    other.close()


def test_a_waiting_reserve_returns_when_it_is_interrupted(queue):
    queue.ping()
    threading.Timer(0.3, queue._interrupt).start()
    begun = time.monotonic()

    assert queue._reserve(limit=1, timeout=LONG) == []
    assert time.monotonic() - begun < LONG / 2


# -- a server that is not well


def test_a_killed_server_is_told_at_once_and_used_again_when_it_is_back(nats_server, queue):  # noqa: F811
    queue.enqueue([message("warm")])
    nats_server.sigkill()
    begun = time.monotonic()
    with pytest.raises(QueueError) as caught:
        queue.enqueue([message("lost")])
    took = time.monotonic() - begun

    nats_server.start()
    queue.enqueue([message("kept")])

    assert took < 2, f"it took {took:.1f} s to say that the server is gone"
    assert caught.value.outcome in ("rejected", "unknown")
    assert queue.depth() == 2


def test_a_server_that_stands_still_holds_nobody_up(nats_server, queue):  # noqa: F811
    """Given a server that answers nobody, when a message is sent, then the error comes within the time and a second."""
    queue.ping()
    nats_server.freeze()
    begun = time.monotonic()
    with pytest.raises(QueueError):
        queue.enqueue([message("x")], timeout=1.0)
    took = time.monotonic() - begun
    nats_server.thaw()

    assert took < 2


def test_a_wrong_address_is_told_at_once_and_without_the_password():
    queue = queue_with({"url": "nats://someone:hushhush@127.0.0.1:9"})
    begun = time.monotonic()
    with pytest.raises(QueueError) as caught:
        queue.enqueue([message("x")])

    assert time.monotonic() - begun < 3
    assert caught.value.outcome == "rejected"
    assert "nats://127.0.0.1:9" in str(caught.value)
    assert "hushhush" not in str(caught.value)
    queue.close()


def test_stream_and_consumer_are_made_again(nats_server, queue):  # noqa: F811
    """Given a server that lost its data while a consumer waits, when a message is sent, then it is delivered."""
    with consumed(queue):
        queue.enqueue([message("before")])
        assert next_heard() == "before"
        nats_server.wipe()
        until(lambda: sent(queue, "after"), what="the server to take messages again")
        assert next_heard() == "after"


def test_a_stream_that_somebody_deleted_is_made_again(queue):
    """Given a connection that stands, when the stream is deleted behind it, then sending and consuming go on."""
    with consumed(queue):
        queue.enqueue([message("before")])
        assert next_heard() == "before"
        delete_stream(queue.options.model_dump())
        queue.enqueue([message("after")])
        assert next_heard() == "after"


def test_a_consumer_that_somebody_deleted_is_made_again(queue):
    """Given a process that waits for messages, when its consumer is deleted on the server, then it makes it again."""
    with consumed(queue):
        queue.enqueue([message("before")])
        assert next_heard() == "before"
        delete_consumer(queue.options.model_dump())
        queue.enqueue([message("after")])
        heard = next_heard()  # "before" comes again if its consumer went before its acknowledgement came
        assert (heard if heard == "after" else next_heard()) == "after"


def sent(queue: NatsQueue, job_id: str) -> bool:
    try:
        queue.enqueue([message(job_id)])
    except QueueError:
        return False
    return True


def delete_stream(options: dict[str, Any]) -> None:
    async def delete() -> None:
        import nats

        client = await nats.connect(options["url"])
        await client.jetstream().delete_stream(options["stream"])
        await client.close()

    asyncio.run(delete())


def delete_consumer(options: dict[str, Any]) -> None:
    async def delete() -> None:
        import nats

        client = await nats.connect(options["url"])
        await client.jetstream().delete_consumer(options["stream"], options["subject"].replace(".", "-"))
        await client.close()

    asyncio.run(delete())


def test_a_stream_that_is_no_work_queue_is_refused(nats_server):  # noqa: F811
    """Given a stream of somebody else's under our name, when we send, then the error says so and nothing is sent."""
    options = names(nats_server)

    async def make() -> None:
        import nats

        client = await nats.connect(options["url"])
        await client.jetstream().add_stream(name=options["stream"], subjects=[options["subject"]])
        await client.close()

    asyncio.run(make())
    queue = queue_with(options)

    with pytest.raises(QueueError, match="is no work queue") as caught:
        queue.enqueue([message("x")])

    assert caught.value.outcome == "rejected"
    assert unanswered(options) == 0
    queue.close()


def test_probing_tells_how_the_server_keeps_the_stream(queue):
    assert any("sync_interval" in sentence for sentence in queue.probe())


# -- processes and threads


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_a_connection_of_its_own(queue):
    """Given a process that has sent, when it forks, then child and parent both go on sending."""
    queue.enqueue([message("parent")])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            queue.enqueue([message("child")])
            queue.close()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    queue.enqueue([message("parent again")])

    assert os.waitstatus_to_exitcode(status) == 0
    assert queue.depth() == 3


def test_many_threads_send_over_one_connection(queue):
    threads = [
        threading.Thread(target=lambda start=start: queue.enqueue([message(str(start + n)) for n in range(50)]))
        for start in range(0, 400, 50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)

    assert queue.depth() == 400
    assert [thread.name for thread in threading.enumerate()].count("ais-nats") == 1


def test_a_closed_queue_leaves_no_thread_and_may_be_used_again(queue):
    queue.enqueue([message("one")])

    queue.close()
    queue.close()

    assert "ais-nats" not in [thread.name for thread in threading.enumerate()]
    queue.enqueue([message("two")])
    assert queue.depth() == 2
