"""Leases: renewed together, treated as lost before the database says so, and never at the cost of a neighbour's."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from django_ais import jobs, registry
from django_ais.exceptions import JobCancelled, LeaseLost
from django_ais.runtime import engine, runner, sql
from django_ais.runtime.leases import GRACE_SECONDS, Keeper
from django_ais.workers import BaseWorker
from tests.app.models import Effect
from tests.harness.attempts import NOBODY_TAKES, active, by_hand, claim, expire, fresh  # noqa: F401
from tests.harness.interleave import Gate, Stage
from tests.harness.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]


@pytest.fixture
def keeper():
    kept = Keeper()
    yield kept
    kept.stop()


def hold(keeper, *attempts):
    """Give leases to a keeper without starting its thread."""
    for attempt in attempts:
        keeper._leases[attempt.lease.job_id] = (attempt.lease, lambda: None)


def ended(attempt):
    return attempt.lease.ended


def test_a_lease_that_was_not_renewed_in_time_is_lost_before_the_database_says_so():
    """By this process's own clock: no new step, no child, no word; although the row would still allow it."""
    job = jobs.dispatch("effect")
    attempt = claim(job)
    attempt.lease.expires = time.monotonic() - 0.001
    calls: list[int] = []

    for write in (
        lambda: active(attempt).step("act", lambda: calls.append(1)),
        lambda: active(attempt).dispatch("echo"),
        lambda: active(attempt).log("late"),
    ):
        with pytest.raises(LeaseLost, match="not renewed in time"):
            write()

    assert calls == []
    assert active(attempt).cancelled
    assert sql.hold_fenced(attempt.lease.job_id, attempt.lease.epoch, attempt.lease.owner)


def test_a_settle_under_way_is_not_aborted():
    """The lease runs out by our own clock while `on_done` works: the settle is committed, for the row is ours."""
    job = jobs.dispatch("effect")
    attempt = claim(job)

    def slow():
        Effect.objects.create(job_id=str(job.id), name="done")
        attempt.lease.expires = time.monotonic() - 0.001

    engine.succeed(attempt, "done", slow)

    assert fresh(job).status == "succeeded"
    assert Effect.objects.count() == 1


def test_all_leases_of_a_process_are_renewed_in_one_statement(keeper):
    """One UPDATE a beat, however many leases; each gets its time by both clocks."""
    attempts = [claim(jobs.dispatch("effect")) for _ in range(3)]
    hold(keeper, *attempts)
    before = [(attempt.lease.expires, fresh(attempt.row).lease_expires_at) for attempt in attempts]

    with CaptureQueriesContext(connection) as queries:
        keeper.beat()

    assert len([query for query in queries if "lease_expires_at" in query["sql"]]) == 1
    for attempt, (expires, expires_at) in zip(attempts, before, strict=True):
        assert attempt.lease.expires > expires
        assert fresh(attempt.row).lease_expires_at > expires_at


def test_a_heartbeat_tells_what_became_of_a_lease(keeper):
    """The attempt of a cancelled job is told so, one whose job somebody else claimed is lost; others live on."""
    gone, stolen, held = [claim(jobs.dispatch("effect")) for _ in range(3)]
    hold(keeper, gone, stolen, held)
    jobs.cancel(gone.row)
    expire(stolen.row)
    claim(stolen.row)

    keeper.beat()

    assert isinstance(ended(gone), JobCancelled)
    assert isinstance(ended(stolen), LeaseLost)
    assert ended(held) is None


def test_a_settle_that_holds_its_row_does_not_end_its_own_lease(keeper):
    """The heartbeat passes over the row; the lease is not renewed, and nobody calls it lost."""
    slow, other = claim(jobs.dispatch("effect")), claim(jobs.dispatch("effect"))
    hold(keeper, slow, other)
    with Stage() as stage:
        settling = stage.gate()
        settle = stage.start(lambda: engine.succeed(slow, None, settling.stop_here))
        settling.await_reached()
        beat = stage.start(keeper.beat)
        beat.await_blocked()  # SQLite: one writer at a time
        settling.open()
        beat.result()
        settle.result()

    assert ended(other) is None
    assert fresh(slow.row).status == "succeeded"


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
def test_a_heartbeat_survives_the_database_s_absence(keeper, monkeypatch, error):
    """A beat that fails ends no lease; the next one renews them."""
    attempt = claim(jobs.dispatch("effect"))
    hold(keeper, attempt)
    renew, errors = sql.renew, [error]

    def away_at_first(*arguments):
        if errors:
            raise errors.pop()
        return renew(*arguments)

    monkeypatch.setattr(sql, "renew", away_at_first)
    before = attempt.lease.expires

    keeper.beat()
    assert (ended(attempt), attempt.lease.expires) == (None, before)

    keeper.beat()
    assert attempt.lease.expires > before


@registry.register("waits-at-a-gate")
class WaitsAtAGate(BaseWorker):
    """Runs until the test opens its gate."""

    gate = Gate()

    def run(self, job):
        self.gate.stop_here()
        return "done"


def test_a_long_job_keeps_its_lease(settings, monkeypatch):
    """A job that runs for several leases' time is renewed by the process's thread, and claimed once."""
    settings.DJANGO_AIS = {**NOBODY_TAKES, "LEASE_SECONDS": 0.9}
    monkeypatch.setattr(WaitsAtAGate, "gate", Gate())
    job = jobs.dispatch("waits-at-a-gate")
    with Stage() as stage:
        running = stage.start(lambda: runner.handle(str(job.id)))
        WaitsAtAGate.gate.await_reached()
        first = fresh(job).lease_expires_at
        until(lambda: (fresh(job).lease_expires_at - first).total_seconds() > 1.0, what="renewals beyond the first")
        WaitsAtAGate.gate.open()
        running.result()

    assert (fresh(job).status, fresh(job).attempt) == ("succeeded", 1)


def test_an_attempt_that_ignores_its_time_limit_delays_no_heartbeat(keeper, settings):
    """Giving a job up waits for whatever its code holds; the other leases are renewed meanwhile."""
    settings.DJANGO_AIS = {**NOBODY_TAKES, "LEASE_SECONDS": 0.3}
    stuck, other = claim(jobs.dispatch("effect")), claim(jobs.dispatch("effect"))
    stuck.lease.deadline = time.monotonic() - GRACE_SECONDS
    given_up, released = threading.Event(), threading.Event()

    def give_up():
        given_up.set()
        released.wait(30)
        raise OperationalError("gone")

    keeper.watch(stuck.lease, overdue=give_up)
    assert given_up.wait(30)
    keeper.watch(other.lease, overdue=lambda: None)
    first = fresh(other.row).lease_expires_at
    try:
        until(lambda: fresh(other.row).lease_expires_at > first, what="a renewal", seconds=5)
    finally:
        released.set()
    second = fresh(other.row).lease_expires_at
    until(lambda: fresh(other.row).lease_expires_at > second, what="a renewal after the error", seconds=5)
