"""What the flags say: a True one works, at its limit and not past it; a False one refuses."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from django_ais.conformance.bench import Bench, Timed
from django_ais.conformance.manifest import requirement
from django_ais.conformance.trouble import dead_port
from django_ais.conformance.waiting import never
from django_ais.exceptions import QueueError, UnsupportedFeature

EARLY = 0.05  # seconds by which clocks may differ
LATE = 5.0  # seconds after its time in which a message must have come
QUIET = 0.7  # seconds in which a message that must not come would have come


@requirement("Q-PRIORITY-001")
def test_a_higher_priority_overtakes(bench: Bench) -> None:
    """Given six messages that wait, when one of higher priority comes, then it is handled before the last of them."""
    with bench.held():
        low = bench.ring(6, priority=-5)
        (high,) = bench.ring(1, priority=50)

    bench.await_handed([*low, high])
    assert bench.handed(high)[0] < max(bench.handed(job_id)[0] for job_id in low), "the higher priority came last"


@requirement("Q-PRIORITY-002")
def test_the_whole_scale_is_taken(bench: Bench) -> None:
    """Given the ends and the middle of the scale, when sent, then all arrive."""
    ids = [job_id for priority in (-100, -1, 0, 1, 100) for job_id in bench.ring(1, priority=priority)]

    bench.await_handed(ids)


@requirement("Q-RUNAFTER-001")
def test_a_message_is_held_back_until_its_time(bench: Bench) -> None:
    """Given a message that is due in a second, when sent, then it comes then, not before and not much later."""
    bench.employ()
    due = time.monotonic() + 1.0
    (job_id,) = bench.ring(1, run_after=timezone.now() + timedelta(seconds=1))

    bench.await_handed([job_id])

    came = bench.handed(job_id)[0]
    assert came >= due - EARLY, f"it came {due - came:.2f} s before its time"
    assert came <= due + LATE, f"it came {came - due:.2f} s after its time"


@requirement("Q-RUNAFTER-002")
def test_the_limit_is_kept(bench: Bench) -> None:
    """Given the limit, when a message is sent for just before it, then it is taken; just past it, it is refused."""
    limit = bench.queue.max_run_after
    near = timezone.now() + (timedelta(days=400) if limit is None else limit - timedelta(seconds=10))
    (job_id,) = bench.ring(1, run_after=near)
    never(lambda: bench.handed(job_id), what="a message came at once instead of at its time", seconds=QUIET)
    if limit is not None:
        far = timezone.now() + limit + timedelta(seconds=60)
        with pytest.raises(UnsupportedFeature):
            bench.ring(1, run_after=far)


@requirement("Q-CANCEL-001")
def test_what_was_taken_back_does_not_come(bench: Bench) -> None:
    """Given messages that wait, when the last is taken back, then the others come and it does not."""
    with bench.held():
        ids = bench.jobs(3)
        messages = [bench.message(job_id) for job_id in ids]
        bench.send(messages)
        bench.queue.cancel([messages[-1].dispatch_id])

    bench.await_handed(ids[:2])
    never(lambda: bench.handed(ids[2]), what="a message that was taken back came", seconds=QUIET)


@requirement("Q-CANCEL-002")
def test_taking_back_is_refused(bench: Bench) -> None:
    """Given a driver that cannot take messages back, when asked to, then UnsupportedFeature."""
    with pytest.raises(UnsupportedFeature):
        bench.queue.cancel(["00000000-1"])


@requirement("Q-PURGE-001")
def test_after_a_purge_nothing_waits(bench: Bench) -> None:
    """Given messages that wait, when purged, then the last of them does not come, and new ones do."""
    with bench.held():
        ids = bench.ring(4)
        bench.queue.purge()

    never(lambda: bench.handed(ids[-1]), what="a purged message came", seconds=QUIET)
    bench.await_handed(bench.ring(1))


@requirement("Q-PURGE-002")
def test_a_purge_is_refused(bench: Bench) -> None:
    """Given a driver that cannot purge, when asked to, then UnsupportedFeature."""
    with pytest.raises(UnsupportedFeature):
        bench.queue.purge()


@requirement("Q-DEPTH-001")
def test_depth_counts_what_waits(bench: Bench) -> None:
    """Given five messages that wait, then depth says so (a worker process may hold one); then it does no more."""
    with bench.held():
        before = bench.queue.depth() or 0
        ids = bench.ring(5)
        bench.until(lambda: bench.queue.depth() in (before + 4, before + 5), what="depth to grow by 5")

    bench.await_handed(ids)
    bench.until(lambda: bench.queue.depth() == before, what="depth to fall again")


@requirement("Q-DEPTH-002")
def test_a_depth_that_is_unknown_is_none(bench: Bench) -> None:
    """Given a driver that cannot tell, then depth is None."""
    assert bench.queue.depth() is None


@requirement("Q-WORKER-001")
def test_a_worker_is_refused(bench: Bench) -> None:
    """Given a driver that starts no worker process, when run_worker is called, then UnsupportedFeature at once."""
    call = Timed(lambda: bench.queue.run_worker(concurrency=1, stop=threading.Event()), limit=5)

    assert isinstance(call.error, UnsupportedFeature), f"run_worker: {call.error!r}"


@requirement("Q-CLOSE-001")
def test_it_may_be_closed_twice(bench: Bench) -> None:
    """Given an instance that was used, when closed here and in another thread, then nothing is raised."""
    queue, (job_id,) = bench.build(), bench.jobs(1)
    bench.send([bench.message(job_id)], through=queue)
    bench.await_handed([job_id])

    for _ in range(2):
        call = Timed(queue.close, limit=15)
        assert call.ended, "close did not come back"
        assert call.error is None, f"close raised {call.error!r}"


@requirement("Q-CHECK-001")
def test_check_needs_no_engine(bench: Bench) -> None:
    """Given no engine at all, when check is called, then it returns sentences, at once."""
    with dead_port() as port:
        call = Timed(bench.build(*[port] * len(bench.ports)).check, limit=5)

    assert call.error is None, f"check raised {call.error!r}"
    assert call.ended, "check did not come back"
    assert isinstance(call.value, list)
    assert all(isinstance(sentence, str) and sentence for sentence in call.value), call.value


@requirement("Q-PING-001")
def test_ping_says_whether_the_engine_is_there(bench: Bench) -> None:
    """Given a running engine, then ping is silent; where nobody listens it raises QueueError within timeout + 1 s."""
    bench.queue.ping(timeout=5.0)

    with dead_port() as port:
        queue = bench.build(*[port] * len(bench.ports))
        call = Timed(lambda: queue.ping(timeout=1.0), limit=7)

    assert isinstance(call.error, QueueError), f"ping: {call.error!r}"
    assert call.seconds <= 2.25, f"ping with a timeout of 1 s took {call.seconds:.1f} s"
