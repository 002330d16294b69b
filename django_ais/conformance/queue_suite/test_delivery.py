"""What becomes of a message: acknowledged, retried, rejected, or left over by a worker process that died."""

from __future__ import annotations

import uuid

from django_ais.conformance.bench import Bench
from django_ais.conformance.manifest import requirement
from django_ais.conformance.waiting import never, until
from django_ais.conformance.workbench import LEASE_SECONDS

DELAY = 0.6  # seconds that a retry is held back
EARLY = 0.05  # seconds by which clocks may differ
QUIET = 0.7  # seconds in which a message that must not come would have come
PATIENCE = 30.0  # seconds until an engine that tells no redelivery_delay must have delivered again


def assert_not_again(bench: Bench, job_id: str) -> None:
    """No further delivery, within the engine's own delay if that is short."""
    count, delay = len(bench.handed(job_id)), bench.queue.redelivery_delay or 0.0
    seconds = QUIET + (delay if delay <= 3 else 0.0)
    never(lambda: len(bench.handed(job_id)) > count, what=f"job {job_id} was delivered again", seconds=seconds)


@requirement("Q-DELIVER-001")
def test_a_retry_comes_again_and_not_early(bench: Bench) -> None:
    """Given a handler that answers RETRY, then the message comes again once the delay has passed."""
    (job_id,) = bench.ring(1, [f"retry:{DELAY}", "run"])

    bench.await_handed([job_id], times=2)

    answered, again = bench.answered(job_id)[0]["time"], bench.handed(job_id)[1]
    assert again - answered >= DELAY - EARLY, f"delivered again after {again - answered:.2f} s instead of {DELAY} s"
    assert bench.status(job_id) == "succeeded"


@requirement("Q-DELIVER-002")
def test_a_rejected_message_does_not_come_again(bench: Bench) -> None:
    """Given a handler that answers REJECT, then that was the only delivery."""
    (job_id,) = bench.ring(1, ["reject"])

    bench.await_handed([job_id])

    assert_not_again(bench, job_id)


@requirement("Q-DELIVER-003")
def test_an_acknowledged_message_does_not_come_again(bench: Bench) -> None:
    """Given a handler that answers ACK, then that was the only delivery."""
    (job_id,) = bench.ring(1)

    bench.await_handed([job_id])

    assert_not_again(bench, job_id)
    assert len(bench.handed(job_id)) == 1, "delivered more than once"


@requirement("Q-DELIVER-004")
def test_an_unknown_job_is_done_with(bench: Bench) -> None:
    """Given a message for a job that is not there, when it was delivered, then the next one comes and it does not."""
    unknown = str(uuid.uuid4())
    bench.send([bench.message(unknown)])
    (known,) = bench.ring(1)

    bench.await_handed([known] if bench.profile.rows_only else [unknown, known])

    assert_not_again(bench, unknown)


@requirement("Q-DELIVER-005")
def test_a_handler_that_raises_does_not_stop_the_consumer(bench: Bench) -> None:
    """Given a handler that breaks its word five times, then the next message is handled all the same."""
    broken = bench.ring(5, ["raise", "run"])
    bench.await_handed(broken)

    after = bench.ring(1)

    bench.await_handed(after)
    assert bench.status(after[0]) == "succeeded"


@requirement("Q-DELIVER-006")
def test_the_message_of_a_dead_worker_process_comes_again(bench: Bench) -> None:
    """Given a handler that has not returned, when its process is killed, then the engine delivers again by itself."""
    gate = bench.gate()
    (job_id,) = bench.ring(1, [gate.order, "run"])
    bench.until(lambda: bench.handed(job_id), what="the job to be taken")

    bench.dismiss()
    bench.await_handed(bench.ring(1))  # by another process, which is there from now on

    expected = bench.queue.redelivery_delay
    seconds = (PATIENCE if expected is None else expected) + LEASE_SECONDS + bench.patience / 3
    until(lambda: len(bench.handed(job_id)) > 1, what="a second delivery", seconds=seconds)
    bench.await_handed([job_id])
    assert bench.status(job_id) == "succeeded"


@requirement("Q-DELIVER-007")
def test_a_worker_process_that_is_told_to_stop_lets_its_job_end(bench: Bench) -> None:
    """Given a running job, when its worker process gets SIGTERM, then the job ends and the process leaves with 0."""
    worker, gate = bench.employ(), bench.gate()
    assert worker is not None
    (job_id,) = bench.jobs(1, type="conformance.work", payload={"gate": gate.path})
    bench.send([bench.message(job_id)])
    bench.until(lambda: bench.ledger.lines("stands", job=job_id), what="the job to stand")

    worker.terminate()
    never(lambda: not worker.is_alive, what="the process left its running job", seconds=QUIET)
    gate.open()
    code = worker.await_end()

    assert code == 0, f"the worker process left with {code}:\n{worker.log}"
    assert bench.status(job_id) == "succeeded"


@requirement("Q-TOUCH-001")
def test_a_job_that_still_runs_is_given_to_nobody_else(bench: Bench) -> None:
    """Given a job that lasts longer than the engine waits, when another process is idle, then it gets nothing."""
    delay = bench.queue.redelivery_delay
    assert delay is not None, "a driver that supports_touch says its redelivery_delay"
    assert delay <= 15, "the profile's options must make the redelivery delay 15 s or less"
    gate = bench.gate()
    (job_id,) = bench.ring(1, [gate.order, "run"])
    bench.until(lambda: bench.handed(job_id), what="the job to be taken")

    other = bench.hire()
    bench.await_handed(bench.ring(1))  # by the other, which is there from now on
    never(lambda: len(bench.handed(job_id)) > 1, what="a running job was delivered again", seconds=delay * 1.5 + 1)
    gate.open()
    other.stop()

    bench.await_handed([job_id])
