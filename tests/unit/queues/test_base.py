"""What every queue driver is given: refusals before anything is sent, batches, an error map, a breaker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from django_ais.exceptions import PartialEnqueueError, QueueError, UnsupportedFeature
from django_ais.queues import BaseQueue, Breaker, QueueMessage


class BrokenPipe(Exception):
    """An error of a client library's."""


class Slipped(BrokenPipe):
    """A kind of it."""


class Acme(BaseQueue):
    """Takes what it is given, unless an error is set."""

    max_batch = 3
    supports_run_after = True
    max_run_after = timedelta(hours=1)
    error_map = {f"{__name__}.BrokenPipe": "rejected"}

    def __init__(self) -> None:
        super().__init__("orders", handler="nobody.handle")
        self.batches: list[list[str]] = []
        self.fails_from = 100
        self.error: Exception = Slipped("no route")

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        if len(self.batches) >= self.fails_from:
            raise self.error
        self.batches.append([message.dispatch_id for message in messages])


def messages(count: int, **fields) -> list[QueueMessage]:
    return [QueueMessage(job_id=f"j{n}", dispatch_id=f"j{n}-1", **fields) for n in range(count)]


def test_messages_go_in_batches():
    """Given more messages than a batch takes, when enqueued, then every one goes once, in batches of that size."""
    queue = Acme()

    queue.enqueue(messages(7))

    assert [len(batch) for batch in queue.batches] == [3, 3, 1]
    assert [name for batch in queue.batches for name in batch] == [message.dispatch_id for message in messages(7)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"priority": 5}, "no priorities"),
        ({"run_after": datetime.now(UTC) + timedelta(hours=2)}, "for more than 1:00:00"),
    ],
)
def test_what_a_flag_denies_is_refused_before_anything_is_sent(fields, words):
    """Given one message of several that asks for too much, when enqueued, then none is sent and the error says why."""
    queue = Acme()

    with pytest.raises(UnsupportedFeature, match=f"'orders'.*{words}"):
        queue.enqueue([*messages(5), *messages(1, **fields)])

    assert queue.batches == []


def test_a_foreign_error_is_translated_by_its_base_class():
    """Given an error that the map knows by its base, when it comes, then ours says what is known of the messages."""
    queue = Acme()
    queue.fails_from = 0

    with pytest.raises(QueueError, match=r"'orders'.*Slipped.*no route") as caught:
        queue.enqueue(messages(2))

    assert caught.value.outcome == "rejected"
    assert isinstance(caught.value.__cause__, Slipped)


def test_an_error_that_nobody_knows_leaves_the_outcome_unknown():
    """Given any other error, when it comes, then it is ours too, and promises nothing."""
    queue = Acme()
    queue.fails_from, queue.error = 0, RuntimeError("odd")

    with pytest.raises(QueueError) as caught:
        queue.enqueue(messages(2))

    assert caught.value.outcome == "unknown"


def test_batches_that_were_taken_are_told_apart_from_those_that_were_not():
    """Given an engine that fails at the second batch, when enqueued, then the error names what went and what not."""
    queue = Acme()
    queue.fails_from = 1

    with pytest.raises(PartialEnqueueError) as caught:
        queue.enqueue(messages(5))

    assert list(caught.value.accepted) == ["j0-1", "j1-1", "j2-1"]
    assert list(caught.value.failed) == ["j3-1", "j4-1"]


def test_an_engine_that_fails_again_and_again_is_left_alone():
    """Given three failures in a row, when a fourth call comes, then it is rejected without a try."""
    queue = Acme()
    queue.fails_from = 0
    for _ in range(3):
        with pytest.raises(QueueError):
            queue.enqueue(messages(1))
    queue.fails_from = 100

    with pytest.raises(QueueError, match="left alone") as caught:
        queue.enqueue(messages(1))

    assert caught.value.outcome == "rejected"
    assert queue.batches == []


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_lets_one_caller_try_after_its_pause():
    """Given an open breaker, when its pause is over, then one caller goes through and the others still wait."""
    clock = Clock()
    breaker = Breaker(failures=2, pause=5.0, clock=clock)
    breaker.failed()
    assert not breaker.is_open()
    breaker.failed()
    assert breaker.is_open()

    clock.now = 5.0

    assert [breaker.is_open() for _ in range(3)] == [False, True, True]
    breaker.succeeded()
    assert not breaker.is_open()
