"""The table as the queue: due rows are claimed in batches, the most urgent first, and idle processes are woken."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="operator, type-var"

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from django_ais import jobs, registry
from django_ais.models import JobPacket
from django_ais.queues import Disposition
from django_ais.runtime import leases, runner
from django_ais.runtime.host import host
from django_ais.runtime.occupancy import occupancy
from django_ais.runtime.source import due_jobs
from tests.app.behaviour_workers import Gate, events, note, notes, overwrite, settings_of, worker_of
from tests.harness.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 20.0


@pytest.fixture(autouse=True)
def nobody(settings):
    """Jobs stay in the table until a test takes them."""
    settings.DJANGO_AIS = settings_of("database")
    notes.clear()
    yield
    due_jobs.give_back()


@contextmanager
def worker_process(concurrency: int = 2) -> Iterator[list[int]]:
    """What a worker process does, in a thread of this one; its exit code is in the list afterwards."""
    stop, codes = threading.Event(), []

    def consume() -> None:
        try:
            codes.append(registry.queues["default"].run_worker(concurrency=concurrency, stop=stop))
        finally:
            connections.close_all()

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        yield codes
    finally:
        stop.set()
        due_jobs.wake("default")
        thread.join(LONG)
        assert not thread.is_alive()


def reserved(limit: int = 10, *, timeout: float = 0.0, queue: str = "default") -> list[Any]:
    """Payloads of the jobs that are reserved."""
    ids = due_jobs.reserve(queue, limit=limit, timeout=timeout)
    rows = {str(row.id): row.payload for row in JobPacket.objects.filter(id__in=ids)}
    return [rows[job_id] for job_id in ids]


# -- reserving


def test_due_jobs_are_reserved_in_batches_and_none_twice():
    jobs.dispatch_many("give", list(range(5)))

    batches = [reserved(3) for _ in range(3)]

    assert [len(batch) for batch in batches] == [3, 2, 0]
    assert sorted(payload for batch in batches for payload in batch) == [0, 1, 2, 3, 4]


def test_the_most_urgent_are_reserved_first_then_the_longest_due():
    now = timezone.now()
    jobs.dispatch("give", "low", priority=-1)
    jobs.dispatch("give", "recent", run_after=now - timedelta(minutes=1))
    jobs.dispatch("give", "high", priority=9)
    jobs.dispatch("give", "old", run_after=now - timedelta(hours=1))

    assert [reserved(1) for _ in range(4)] == [["high"], ["old"], ["recent"], ["low"]]


def test_the_order_holds_within_a_batch_too():
    for priority in (0, 5, -5, 9):
        jobs.dispatch("give", priority, priority=priority)

    assert reserved(10) == [9, 5, 0, -5]


def test_what_is_reserved_is_claimed():
    job = jobs.dispatch("give")

    reserved()

    row = jobs.get(job)
    assert (row.status, row.attempt, row.deliveries) == ("running", 1, 1)
    assert row.lease_owner
    assert row.lease_expires_at > timezone.now()


def test_a_job_is_not_reserved_before_its_time():
    jobs.dispatch("give", "later", run_after=timezone.now() + timedelta(seconds=0.3))

    assert reserved() == []
    assert reserved(timeout=LONG) == ["later"]


def test_jobs_of_other_queues_are_left_alone(settings):
    settings.DJANGO_AIS = settings_of("database") | {"QUEUES": {"default": "database", "other": "database"}}
    jobs.dispatch("give", "there", queue="other")

    assert reserved() == []
    assert reserved(queue="other") == ["there"]


def test_a_job_that_this_process_does_not_know_is_left_to_others():
    """As during a deploy, when some worker processes are older than the site."""
    job = jobs.dispatch("give")
    overwrite(job, worker="of a later version")

    assert reserved() == []
    assert jobs.get(job).status == "queued"


def test_finished_suspended_and_cancelled_jobs_are_not_reserved():
    for status in ("suspended", "succeeded", "failed", "cancelled", "skipped", "running"):
        overwrite(jobs.dispatch("give"), status=status)

    assert reserved() == []


def test_a_waiting_process_is_woken_by_a_dispatch():
    dispatching = threading.Timer(0.2, _dispatch_and_close)
    dispatching.start()

    assert reserved(timeout=LONG) == ["woken"]
    dispatching.join()


def _dispatch_and_close() -> None:
    try:
        jobs.dispatch("give", "woken")
    finally:
        connections.close_all()


def test_a_wait_can_be_ended_from_another_thread():
    """Given a process that waits for jobs, when it is to stop, then it does not sit out its wait."""
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_reserve_and_close)
        while not waiting.done():
            due_jobs.interrupt("default")
            time.sleep(0.01)

    assert waiting.result() == []
    assert time.monotonic() - begun < LONG / 2


def _reserve_and_close() -> list[str]:
    try:
        return list(due_jobs.reserve("default", limit=1, timeout=LONG))
    finally:
        connections.close_all()


def test_a_process_that_waits_in_vain_returns_with_nothing():
    assert reserved(timeout=0.1) == []


def test_what_was_reserved_and_not_begun_is_given_back_without_an_attempt():
    made = jobs.dispatch_many("give", [1, 2])
    reserved()

    assert due_jobs.give_back() == 2

    assert {(jobs.get(job).status, jobs.get(job).attempt, jobs.get(job).deliveries) for job in made} == {
        ("queued", 0, 0)
    }
    assert set(reserved()) == {1, 2}


def test_a_reserved_job_is_run_by_its_handler():
    job = jobs.dispatch("double", 4)
    (job_id,) = due_jobs.reserve("default", limit=1, timeout=0.0)

    outcome = runner.handle(job_id)

    assert outcome.disposition is Disposition.ACK
    assert jobs.get(job).result == 8
    assert events(job) == ["job.queued", "job.started", "job.succeeded"]


@pytest.mark.parametrize("text", ["", "x", "0" * 36, "../../etc/passwd"])
def test_a_message_that_names_no_job_is_acknowledged_and_changes_nothing(text):
    assert runner.handle(text).disposition is Disposition.ACK


# -- a worker process


def test_jobs_are_run_by_priority():
    for priority in (0, 5, -5, 9):
        jobs.dispatch("give", priority, priority=priority)

    with worker_process(concurrency=1):
        until(lambda: len(notes) == 4, what="four jobs")

    assert notes == [("give", priority) for priority in (9, 5, 0, -5)]


def test_an_idle_worker_process_takes_what_is_dispatched():
    with worker_process():
        assert jobs.wait(jobs.dispatch("double", 1), timeout=LONG).result == 2
        assert jobs.wait(jobs.dispatch("double", 2), timeout=LONG).result == 4


def test_a_job_of_a_worker_process_may_dispatch_others():
    def run(job):
        for number in (1, 2, 3):
            job.dispatch("double", number)

    with worker_process():
        job = jobs.wait(jobs.dispatch(worker_of(run)), timeout=LONG)

    assert sorted(JobPacket.objects.filter(parent=job).values_list("result", flat=True)) == [2, 4, 6]


def test_a_busy_process_takes_no_more_than_it_can_run():
    gate = Gate()
    made = jobs.dispatch_many(worker_of(lambda job: gate.stand()), list(range(5)))

    with worker_process(concurrency=2):
        gate.await_one()
        gate.await_one()
        statuses = [jobs.get(job).status for job in made]
        gate.opened.set()
        until(lambda: not JobPacket.objects.open().exists(), what="all jobs")

    assert sorted(statuses) == ["queued"] * 3 + ["running"] * 2


def test_a_stopped_process_finishes_what_runs_and_takes_nothing_more():
    gate = Gate()

    def run(job):
        gate.stand()
        return "finished"

    made = jobs.dispatch_many(worker_of(run), [1, 2, 3])

    with worker_process(concurrency=1) as codes:
        gate.await_one()
        threading.Timer(0.1, gate.opened.set).start()

    assert codes == [0]
    assert sorted(jobs.get(job).status for job in made) == ["queued", "queued", "succeeded"]


# -- drain


def test_a_drain_waits_for_what_runs():
    gate = Gate()
    job = jobs.dispatch(worker_of(lambda job: gate.stand()))

    with worker_process(concurrency=1):
        gate.await_one()
        threading.Timer(0.2, gate.opened.set).start()
        assert host.drain(LONG) == 0

    assert jobs.get(job).status == "succeeded"


def test_what_does_not_end_in_time_is_given_back_without_an_attempt_and_its_result_refused():
    gate = Gate()

    def run(job):
        gate.stand()
        return "too late"

    job = jobs.dispatch(worker_of(run, on_done=lambda job, result, children: note("done")))

    with worker_process(concurrency=1):
        gate.await_one()
        assert host.drain(0.1) == 1
        row = jobs.get(job)
        gate.opened.set()

    assert (row.status, row.attempt, row.deliveries, row.lease_owner) == ("queued", 0, 0, "")
    until(lambda: not leases.keeper().held(), what="the attempt to leave")
    assert (jobs.get(job).status, jobs.get(job).result, notes) == ("queued", None, [])


def test_a_job_that_was_given_back_is_run_by_the_next_process():
    gate = Gate()

    def run(job):
        if not gate.opened.is_set():
            gate.stand()
        return job.attempt

    job = jobs.dispatch(worker_of(run))
    with worker_process(concurrency=1):
        gate.await_one()
        host.drain(0.1)
        gate.opened.set()
    until(lambda: not leases.keeper().held(), what="the attempt to leave")
    occupancy.reopen()

    with worker_process(concurrency=1):
        job = jobs.wait(job, timeout=LONG)

    assert (job.status, job.result) == ("succeeded", 1)
