"""Handing messages to the engine: what arrives, what is refused, and how long it may take."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_ais.conformance.bench import Bench, Timed
from django_ais.conformance.manifest import requirement
from django_ais.conformance.trouble import black_hole, dead_port
from django_ais.conformance.waiting import never
from django_ais.exceptions import QueueError, UnsupportedFeature
from django_ais.queues import BaseQueue

TIMEOUT = 1.0  # given to enqueue
LATEST = TIMEOUT + 1.0  # promised by the contract
QUIET = 0.7  # seconds in which a message that must not come would have come


@requirement("Q-ENQUEUE-001")
def test_an_accepted_message_brings_its_job(bench: Bench) -> None:
    """Given three jobs, when each has sent its message, then the handler is called with exactly their ids."""
    ids = bench.ring(3)

    bench.await_handed(ids)
    assert [bench.status(job_id) for job_id in ids] == ["succeeded"] * 3


def assert_given_up(bench: Bench, queue: BaseQueue) -> None:
    """`enqueue` raises `QueueError` in time."""
    (job_id,) = bench.jobs(1)
    call = Timed(lambda: queue.enqueue([bench.message(job_id)], timeout=TIMEOUT), limit=LATEST + 2)

    assert call.ended, f"enqueue did not come back within {LATEST + 2:g} s"
    assert call.seconds <= LATEST + 0.25, f"enqueue with a timeout of {TIMEOUT:g} s took {call.seconds:.1f} s"
    assert call.error is not None, "enqueue returned as if the message had been taken"
    assert isinstance(call.error, QueueError), f"enqueue raised {call.error!r}, which is no QueueError"
    assert call.error.outcome in ("rejected", "unknown")


@requirement("Q-ENQUEUE-002")
def test_a_dead_engine_is_told_in_time(bench: Bench) -> None:
    """Given a port where nobody listens, when enqueue is called, then QueueError comes within timeout + 1 s."""
    with dead_port() as port:
        assert_given_up(bench, bench.build(*[port] * len(bench.ports)))


@requirement("Q-ENQUEUE-003")
def test_an_engine_that_never_answers_is_given_up(bench: Bench) -> None:
    """Given a port that takes connections and says nothing, when enqueue is called, then QueueError comes in time."""
    with black_hole() as port:
        assert_given_up(bench, bench.build(*[port] * len(bench.ports)))


@requirement("Q-ENQUEUE-004")
def test_small_batches_arrive_whole(bench: Bench) -> None:
    """Given batches of three, when seven messages are sent, then `_enqueue` never sees more and all arrive."""
    queue, sizes = bench.build(), []
    queue.max_batch = 3  # type: ignore[misc]
    whole = queue._enqueue
    queue._enqueue = lambda messages, *, timeout: (sizes.append(len(messages)), whole(messages, timeout=timeout))[1]  # type: ignore[method-assign,func-returns-value]
    ids = bench.jobs(7)

    bench.send([bench.message(job_id) for job_id in ids], through=queue)
    bench.await_handed(ids)
    queue.close()

    assert sizes == [3, 3, 1], f"a driver whose max_batch is 3 was given {sizes}"


@requirement("Q-ENQUEUE-004")
def test_a_full_batch_and_one_more_arrive_whole(bench: Bench) -> None:
    """Given one message more than a batch holds, when all are sent at once, then each arrives."""
    count = min(bench.queue.max_batch + 1, 1_001)
    if bench.queue.isolates_jobs or bench.profile.rows_only:
        count = min(count, 20)  # an operating-system process or three transactions for each
    ids = bench.light(count)

    bench.send([bench.message(job_id) for job_id in ids])

    bench.await_handed(ids)


@requirement("Q-ENQUEUE-005")
def test_it_may_be_called_from_many_threads(bench: Bench) -> None:
    """Given eight threads, when each sends at the same moment, then no call fails and all messages arrive."""
    ids = bench.light(16)
    barrier, errors = threading.Barrier(8), []

    def send(mine: list[str]) -> None:
        barrier.wait()
        try:
            for job_id in mine:
                bench.queue.enqueue([bench.message(job_id)], timeout=5.0)
        except Exception as error:  # noqa: BLE001 - told to the test, which judges it
            errors.append(error)

    bench.employ()
    threads = [threading.Thread(target=send, args=(ids[place::8],)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    bench.await_handed(ids)


@requirement("Q-ENQUEUE-006")
def test_it_may_be_called_around_a_fork(bench: Bench) -> None:
    """Given a process that has sent, when it forks and both send, then all three messages arrive."""
    ids = bench.jobs(3)

    code = bench.fork(*ids)

    assert code == 0, "the process that forked could not send"
    bench.await_handed(ids)


@requirement("Q-ENQUEUE-007")
def test_two_messages_for_a_job_are_two(bench: Bench) -> None:
    """Given a job, when two messages with ids of their own are sent for it, then the handler is called twice."""
    (job_id,) = bench.jobs(1)

    bench.send([bench.message(job_id)])
    bench.send([bench.message(job_id)])

    bench.await_handed([job_id], times=1 if bench.profile.rows_only else 2)
    assert bench.status(job_id) == "succeeded"


@requirement("Q-ENQUEUE-008")
def test_the_same_message_twice_harms_nobody(bench: Bench) -> None:
    """Given a message, when it is sent twice, then the job is done, once, and what comes after is done too."""
    (job_id,) = bench.jobs(1)
    message = bench.message(job_id)

    bench.send([message])
    bench.send([message])
    after = bench.ring(1)

    bench.await_handed([job_id, *after])
    assert [bench.status(one) for one in [job_id, *after]] == ["succeeded"] * 2


@requirement("Q-ENQUEUE-009")
def test_what_the_flags_deny_is_refused_before_anything_is_sent(bench: Bench) -> None:
    """Given a batch whose last message asks for what the flags deny, then UnsupportedFeature, and nothing is sent."""
    queue, later = bench.queue, timezone.now() + timedelta(seconds=30)
    denied: list[dict[str, Any]] = [{"priority": 5}] if not queue.supports_priority else []
    denied += [{"run_after": later}] if not queue.supports_run_after else []
    for wish in denied:
        plain, wishing = bench.jobs(2)
        with pytest.raises(UnsupportedFeature):
            bench.send([bench.message(plain), bench.message(wishing, **wish)])
        assert_nothing_sent(bench, plain)


def assert_nothing_sent(bench: Bench, job_id: str) -> None:
    never(lambda: bench.handed(job_id), what="a part of a refused batch was sent", seconds=QUIET)
