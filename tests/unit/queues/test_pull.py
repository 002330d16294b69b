"""The loop of drivers that take messages one by one: how much it reserves, when it gives back, how soon it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from django_ais.queues import ACK, Delivery, Outcome, PullQueue, retry_in
from tests.harness.waiting import until

_handler: list[Callable[[str], Outcome]] = []


def handle(job_id: str) -> Outcome:
    """What the driver of this module calls."""
    return _handler[0](job_id)


class Taken:
    """A delivery that remembers its answer."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.answer = ""
        self.touches = 0

    def ack(self) -> None:
        self.answer = "ack"

    def nack(self, delay: float) -> None:
        self.answer = f"nack {delay:g}"

    def reject(self) -> None:
        self.answer = "reject"

    def touch(self) -> None:
        self.touches += 1


class Endless(PullQueue):
    """Always has as many messages as are asked for, until it is told to be empty."""

    reserves_ahead = 10
    supports_touch = True
    touch_seconds = 0.01

    def __init__(self) -> None:
        super().__init__(handler=f"{__name__}.handle")
        self.limits: list[int] = []
        self.taken: list[Taken] = []
        self.given_back = threading.Event()
        self.interrupted = threading.Event()
        self.is_empty = False

    def _reserve(self, *, limit: int, timeout: float) -> Sequence[Taken]:
        if self.is_empty:
            self.interrupted.wait(timeout)
            return []
        self.limits.append(limit)
        found = [Taken(f"job-{len(self.taken) + place}") for place in range(limit)]
        self.taken += found
        return found

    def _interrupt(self) -> None:
        self.interrupted.set()

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        super()._give_back(deliveries)
        self.given_back.set()


@contextmanager
def running(queue: Endless, *, concurrency: int = 2) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=lambda: queue.run_worker(concurrency=concurrency, stop=stop))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def _after(gate: threading.Event) -> Outcome:
    gate.wait(20)
    return ACK


def _slowly() -> Outcome:
    time.sleep(0.05)
    return ACK


def test_quick_jobs_are_reserved_ahead():
    """Given jobs of no length, when many have run, then the loop asks for more than it has free slots."""
    queue = Endless()
    _handler[:] = [lambda job_id: ACK]

    with running(queue):
        until(lambda: max(queue.limits, default=0) > 10, what="a larger batch", seconds=10)

    assert queue.limits[0] == 2  # nothing is known of the first ones


def test_long_jobs_are_reserved_one_for_each_free_slot():
    """Given jobs that take their time, when they run, then nothing waits in this process."""
    queue = Endless()
    _handler[:] = [lambda job_id: _slowly()]

    with running(queue):
        until(lambda: len(queue.limits) > 6, what="several batches", seconds=10)

    assert max(queue.limits) == 2


def test_what_was_reserved_ahead_is_given_back_when_jobs_become_long():
    """Given a batch reserved ahead, when the first ones do not end, then the rest is given back."""
    queue = Endless()
    gate = threading.Event()
    _handler[:] = [lambda job_id: ACK if max(queue.limits) <= 10 else _after(gate)]

    with running(queue):
        assert queue.given_back.wait(10)
        begun = [taken for taken in queue.taken if not taken.answer]
        gate.set()

    assert "nack 0" in [taken.answer for taken in queue.taken]
    assert 0 < len(begun) <= 2, "more were kept than there are slots"


def test_what_was_reserved_ahead_is_given_back_when_the_process_stops():
    """Given a batch reserved ahead of jobs that stand, when the process is to stop, then nobody begins the rest."""
    queue = Endless()
    gate = threading.Event()
    begun: list[str] = []

    def handle_one(job_id: str) -> Outcome:
        begun.append(job_id)
        return ACK if max(queue.limits) <= 10 else _after(gate)

    _handler[:] = [handle_one]
    with running(queue) as stop:
        until(lambda: max(queue.limits, default=0) > 10, what="a larger batch", seconds=10)
        stop.set()
        until(lambda: queue.given_back.is_set(), what="the rest to be given back", seconds=10)
        gate.set()

    assert sorted(begun) == sorted(taken.job_id for taken in queue.taken if taken.answer == "ack")


def test_each_answer_of_the_handler_reaches_its_message():
    """Given a handler with three kinds of answer, when messages are handled, then each is answered so."""
    queue = Endless()
    queue.reserves_ahead = 0  # type: ignore[misc]
    answers = {"job-0": ACK, "job-1": retry_in(3)}
    _handler[:] = [lambda job_id: answers.get(job_id, ACK)]

    with running(queue):
        until(
            lambda: len(queue.taken) > 2 and all(taken.answer for taken in queue.taken[:2]), what="answers", seconds=10
        )

    assert [taken.answer for taken in queue.taken[:2]] == ["ack", "nack 3"]


def test_a_handler_that_raises_costs_no_thread_and_answers_nothing():
    """Given a handler that breaks its promise once, when others come, then they are handled; it stays unanswered."""
    queue = Endless()

    def once(job_id: str) -> Outcome:
        if job_id == "job-0":
            raise RuntimeError("broken deploy")
        return ACK

    _handler[:] = [once]
    with running(queue, concurrency=1):
        until(lambda: len(queue.taken) > 3 and bool(queue.taken[3].answer), what="later messages", seconds=10)

    assert queue.taken[0].answer == ""


def test_a_running_delivery_is_touched():
    """Given a long job, when it runs, then its delivery is extended again and again."""
    queue = Endless()
    gate = threading.Event()
    _handler[:] = [lambda job_id: _after(gate)]

    with running(queue, concurrency=1):
        until(lambda: bool(queue.taken) and queue.taken[0].touches > 2, what="touches", seconds=10)
        gate.set()


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_stop_ends_a_wait_for_messages_at_once(concurrency):
    """Given an empty engine, when the process is to stop, then the loop does not sit out its wait."""
    queue = Endless()
    queue.is_empty = True

    with running(queue, concurrency=concurrency) as stop:
        time.sleep(0.05)  # it waits now
        begun = time.monotonic()
        stop.set()

    assert time.monotonic() - begun < 4
