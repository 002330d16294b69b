"""The drivers inside of one process: `memory`, whose threads take messages in order, and `immediate` without any."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.utils import timezone

from django_ais import jobs
from django_ais.backends.queue.immediate import ImmediateQueue
from django_ais.backends.queue.memory import MemoryQueue
from django_ais.exceptions import ConfigurationError, UnsupportedFeature
from django_ais.queues import ACK, Outcome, QueueMessage, retry_in
from tests.app.behaviour_workers import Gate, note, notes, settings_of, worker_of
from tests.harness.waiting import until

HANDLER = f"{__name__}.handle"
LONG = 20.0
_answer: list[Callable[[str], Outcome | None]] = []
_numbers = count()


def handle(job_id: str) -> Outcome:
    """What the drivers of this module call."""
    note(job_id)
    return _answer[0](job_id) or ACK


@pytest.fixture(autouse=True)
def answer():
    """Messages are acknowledged unless a test says otherwise."""
    notes.clear()
    _answer[:] = [lambda job_id: ACK]
    return lambda reply: _answer.__setitem__(0, reply)


@pytest.fixture
def queue():
    """A driver with one thread."""
    queue = MemoryQueue("default", {"threads": 1}, handler=HANDLER)
    yield queue
    queue.close()


def message(job_id: str, **fields) -> QueueMessage:
    return QueueMessage(job_id=job_id, dispatch_id=f"{job_id}-{next(_numbers)}", **fields)


def held_by(gate: Gate) -> Callable[[str], None]:
    """Stand at the gate with the message ``gate``, and take all others at once."""
    return lambda job_id: gate.stand() if job_id == "gate" else None


def handled(*job_ids: str) -> list[str]:
    """Wait until all of these were handled, and return them as they were."""
    until(lambda: len(notes) >= len(job_ids), what=f"{len(job_ids)} messages", seconds=LONG)
    return list(notes)


# -- memory


def test_every_message_is_handled_once(queue):
    names = [f"job-{number}" for number in range(50)]

    queue.enqueue([message(name) for name in names])

    assert handled(*names) == names


def test_higher_priorities_overtake_and_equals_keep_their_order(queue, answer):
    gate = Gate()
    answer(held_by(gate))
    queue.enqueue([message("gate")])
    gate.await_one()

    queue.enqueue([message("low", priority=-5), message("a"), message("high", priority=100)])
    queue.enqueue([message("b"), message("middle", priority=1)])
    gate.opened.set()

    assert handled(*"gabcde") == ["gate", "high", "middle", "a", "b", "low"]


def test_a_message_is_held_back_until_its_time_and_others_pass_it(queue):
    due = datetime.now(UTC) + timedelta(seconds=0.3)

    queue.enqueue([message("later", run_after=due, priority=100), message("now")])

    assert handled("now", "later") == ["now", "later"]
    assert datetime.now(UTC) >= due


def test_a_time_that_has_passed_is_now(queue):
    queue.enqueue([message("a", run_after=datetime.now(UTC) - timedelta(days=1))])

    assert handled("a") == ["a"]


def test_a_message_comes_again_when_the_handler_asks_for_it_and_not_before(queue, answer):
    times: list[float] = []

    def busy_twice(job_id):
        times.append(time.monotonic())
        return retry_in(0.1) if len(times) < 3 else ACK

    answer(busy_twice)
    queue.enqueue([message("a")])

    assert handled(*"aaa") == ["a"] * 3
    assert min(times[1] - times[0], times[2] - times[1]) >= 0.1


def test_a_message_that_is_acknowledged_does_not_come_again(queue):
    queue.enqueue([message("a")])
    handled("a")
    queue.enqueue([message("b")])

    assert handled("a", "b") == ["a", "b"]
    assert queue.depth() == 0


def test_the_depth_counts_what_waits_and_what_is_held_back(queue, answer):
    gate = Gate()
    answer(held_by(gate))
    queue.enqueue([message("gate")])
    gate.await_one()

    queue.enqueue([message("a"), message("b", run_after=datetime.now(UTC) + timedelta(hours=1))])

    assert queue.depth() == 2
    gate.opened.set()


def test_no_more_messages_are_handled_at_once_than_there_are_threads(answer):
    queue, gate, lock, running, most = (
        MemoryQueue("m", {"threads": 3}, handler=HANDLER),
        Gate(),
        threading.Lock(),
        [],
        [],
    )

    def watch(job_id):
        with lock:
            running.append(job_id)
            most.append(len(running))
            if len(running) == 3:
                gate.opened.set()
        gate.stand()
        with lock:
            running.remove(job_id)

    answer(watch)
    queue.enqueue([message(str(number)) for number in range(9)])
    handled(*"123456789")
    queue.close()

    assert max(most) == 3


def test_a_handler_that_breaks_its_word_costs_no_thread(queue, answer, caplog):
    def raising(job_id):
        if job_id == "bad":
            raise ValueError("a handler never raises")

    answer(raising)
    queue.enqueue([message("bad"), message("good")])

    assert handled("bad", "good") == ["bad", "good"]


def test_messages_may_come_from_many_threads_at_once(queue):
    senders = [
        threading.Thread(target=queue.enqueue, args=([message(f"{number}-{place}") for place in range(20)],))
        for number in range(5)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert len(set(handled(*range(100)))) == 100


def test_closing_waits_for_what_runs_and_leaves_what_waits(queue, answer):
    gate, ended = Gate(), []

    def stand(job_id):
        gate.stand()
        ended.append(job_id)

    answer(stand)
    queue.enqueue([message("runs"), message("waits")])
    gate.await_one()
    closing = threading.Thread(target=queue.close)
    closing.start()
    gate.opened.set()
    closing.join(LONG)

    assert ended == ["runs"]
    assert queue.depth() == 1


def test_a_closed_queue_begins_again_with_the_next_message(queue):
    queue.enqueue([message("a")])
    handled("a")
    queue.close()
    queue.close()

    queue.enqueue([message("b")])

    assert handled("a", "b") == ["a", "b"]


def test_a_process_that_ends_waits_for_the_jobs_that_run():
    code = f"""
import threading, time
from django_ais.backends.queue.memory import MemoryQueue
from tests.integration import test_queues_memory as here
begun = threading.Event()
def slow(job_id):
    begun.set()
    time.sleep(0.3)
    print("ended", job_id, flush=True)
here._answer[:] = [slow]
MemoryQueue("default", {{}}, handler={HANDLER!r}).enqueue([here.message("a")])
assert begun.wait(10)
"""
    code = "import tests.conftest\n" + code

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG, check=False)

    assert done.stdout == "ended a\n", done.stderr


def test_a_worker_process_consumes_until_it_is_stopped(queue, answer):
    gate, stop, codes = Gate(), threading.Event(), []
    answer(lambda job_id: gate.stand())
    worker = threading.Thread(target=lambda: codes.append(queue.run_worker(concurrency=2, stop=stop)))
    worker.start()
    until(lambda: queue._pid, what="the worker to begin")
    queue.enqueue([message("a"), message("b")])
    gate.await_one()
    gate.await_one()

    stop.set()
    gate.opened.set()
    worker.join(LONG)

    assert (sorted(notes), codes) == (["a", "b"], [0])


@pytest.mark.parametrize("options", [{"threads": 0}, {"thread": 3}, {"drain_seconds": -1}])
def test_options_that_make_no_sense_are_refused_with_the_known_ones(options):
    with pytest.raises(ConfigurationError, match=r"Options it knows: threads, drain_seconds"):
        MemoryQueue("default", options, handler=HANDLER)


# -- memory, with jobs


@pytest.mark.django_db(transaction=True)
def test_jobs_of_higher_priority_run_first(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 1})
    gate = Gate()
    first = jobs.dispatch(worker_of(lambda job: gate.stand()))
    gate.await_one()

    made = [
        jobs.dispatch("give", name, priority=priority) for name, priority in (("low", -1), ("none", 0), ("high", 9))
    ]
    gate.opened.set()
    for job in [first, *made]:
        jobs.wait(job, timeout=LONG)

    assert notes == [("give", "high"), ("give", "none"), ("give", "low")]


@pytest.mark.django_db(transaction=True)
def test_jobs_run_side_by_side(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 3})
    together = threading.Barrier(3)
    worker = worker_of(lambda job: together.wait(LONG) >= 0)

    made = jobs.dispatch_many(worker, [1, 2, 3])

    assert [jobs.wait(job, timeout=LONG).result for job in made] == [True] * 3


# -- immediate


def test_immediate_runs_in_the_thread_that_enqueues(answer):
    threads: list[int] = []
    answer(lambda job_id: threads.append(threading.get_ident()))

    ImmediateQueue("default", handler=HANDLER).enqueue([message("a"), message("b")])

    assert (notes, threads) == (["a", "b"], [threading.get_ident()] * 2)


def test_immediate_runs_what_is_enqueued_inside_of_a_job_before_that_returns(answer):
    queue = ImmediateQueue("default", handler=HANDLER)

    def outer(job_id):
        if job_id == "a":
            queue.enqueue([message("inner")])
            note("after inner")

    answer(outer)
    queue.enqueue([message("a"), message("b")])

    assert notes == ["a", "inner", "after inner", "b"]


def test_immediate_runs_a_long_chain_without_a_deep_stack(answer):
    queue = ImmediateQueue("default", handler=HANDLER)
    answer(lambda job_id: queue.enqueue([message(str(int(job_id) - 1))]) if int(job_id) else None)

    queue.enqueue([message("5000")])

    assert [int(job_id) for job_id in notes] == list(range(5_000, -1, -1))


@pytest.mark.parametrize("denied", [{"priority": 1}, {"run_after": datetime(2030, 1, 1, tzinfo=UTC)}])
def test_immediate_refuses_what_it_denies_before_it_runs_anything(denied):
    with pytest.raises(UnsupportedFeature):
        ImmediateQueue("default", handler=HANDLER).enqueue([message("a"), message("b", **denied)])
    assert notes == []


@pytest.mark.django_db(transaction=True)
def test_what_immediate_cannot_hold_back_is_run_by_a_sweep(settings):
    settings.DJANGO_AIS = settings_of("immediate", SWEEP_SECONDS=0.1)

    late = jobs.dispatch("give", "late", run_after=timezone.now() + timedelta(seconds=0.3))
    jobs.dispatch("give", "now", priority=9)  # which is not refused, but means nothing here

    assert jobs.wait(late, timeout=LONG).status == "succeeded"
    assert notes == [("give", "now"), ("give", "late")]
