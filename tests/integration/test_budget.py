"""The budget of round trips: a no-op job is three writing transactions, by the server's own count.

PostgreSQL hands out a transaction id to a transaction that writes (or locks a row), and to no other. The difference of
``pg_snapshot_xmax(pg_current_snapshot())`` counts them over all connections, our background threads' included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any

import pytest
from django.db.backends.utils import CursorWrapper

from django_ais import jobs, registry
from django_ais.models import JobPacket
from django_ais.runtime import database, relay
from django_ais.runtime import statements as prepared
from django_ais.workers import BaseWorker
from tests.harness.attempts import NOBODY_TAKES
from tests.harness.interleave import Stage, needs_row_locks
from tests.harness.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), needs_row_locks]

JOBS = 25
UNHURRIED = {**NOBODY_TAKES, "EVENT_FLUSH_MS": 5_000}  # a loaded machine must not turn a short job into a long one
ROUNDS = 3  # the server's own housekeeping takes ids too: the round with the fewest is ours


@pytest.fixture(autouse=True)
def without_sweep(monkeypatch):
    """The sweep costs the same whether there are jobs or not."""
    monkeypatch.setattr(relay.sweeper, "start", lambda: None)


@pytest.fixture
def statements(monkeypatch):
    """Every statement that any thread of this process executes."""
    texts: list[str] = []
    wrapper: Any = CursorWrapper
    execute = wrapper._execute

    def recorded(self, sql, params, *rest):
        texts.append(sql)
        return execute(self, sql, params, *rest)

    def recorded_too(current, sql, params):
        texts.append(sql)
        return run_prepared(current, sql, params)

    run_prepared = prepared._run_prepared
    monkeypatch.setattr(prepared, "_run_prepared", recorded_too)
    monkeypatch.setattr(CursorWrapper, "_execute", recorded)
    return texts


def ids_taken() -> int:
    return int(database.query("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")[0][0])


def done() -> int:
    return JobPacket.objects.filter(status="succeeded").count()


def measure(work: Callable[[], None], statements: list[str]) -> tuple[list[float], float]:
    """Writing transactions for a job in each round, and statements for a job."""
    work()  # connections, prepared statements, threads
    rounds, counts = [], []
    for _ in range(ROUNDS):
        statements.clear()
        before = ids_taken()
        work()
        rounds.append((ids_taken() - before) / JOBS)
        looks = [text for text in statements if "pg_snapshot_xmax" in text or "COUNT(*)" in text]
        counts.append((len(statements) - len(looks)) / JOBS)
    return rounds, mean(counts)


def report(queue: str, rounds: list[float], each: float) -> None:
    figures = ", ".join(f"{value:.2f}" for value in rounds)
    print(f"\n{queue}: writing transactions a no-op job: {figures} (by round); statements a job: {each:.2f}")


def dispatch_one_by_one() -> None:
    """Dispatch jobs and wait until they are done."""
    wanted = done() + JOBS
    for number in range(JOBS):
        jobs.dispatch("echo", number)
    until(lambda: done() >= wanted, what="the jobs to be done")


@contextmanager
def consuming(queue: str) -> Iterator[None]:
    """Take jobs from a queue in a thread, as `ais_worker` does."""
    stop = threading.Event()
    with Stage() as stage:
        stage.start(lambda: registry.queues[queue].run_worker(concurrency=4, stop=stop))
        try:
            yield
        finally:
            stop.set()


@pytest.mark.parametrize("queue", ["immediate", "memory"])
def test_a_no_op_job_is_three_writing_transactions(queue, settings, statements):
    """Create, claim, settle: nothing else on the way of a job shorter than a flush interval takes a transaction id."""
    settings.DJANGO_AIS = {**UNHURRIED, "QUEUES": {"default": queue}}

    rounds, each = measure(dispatch_one_by_one, statements)

    report(queue, rounds, each)
    assert min(rounds) == 3


def test_the_table_as_a_queue_claims_many_jobs_in_one_commit(settings, statements):
    """Jobs created in one transaction and claimed in batches cost little more than their settles."""
    settings.DJANGO_AIS = UNHURRIED

    def dispatch_together() -> None:
        wanted = done() + JOBS
        jobs.dispatch_many("echo", range(JOBS))
        until(lambda: done() >= wanted, what="the jobs to be done")

    with consuming("default"):
        rounds, each = measure(dispatch_together, statements)

    report("database", rounds, each)
    assert 1 < min(rounds) < 2.5


def test_a_recorded_step_is_one_more_and_one_with_an_intent_two(settings, statements):
    """A step whose call may simply be repeated is written once; where the intent must come first, twice."""
    settings.DJANGO_AIS = {**UNHURRIED, "QUEUES": {"default": "immediate"}}

    def cost(type: str) -> float:
        def work() -> None:
            for _ in range(JOBS):
                jobs.dispatch(type)

        return min(measure(work, statements)[0])

    assert cost("budget-safe-step") == 4
    assert cost("budget-keyed-step") == 5


def test_dispatch_many_is_one_insert_for_each_table_and_500_rows(settings, statements):
    """A thousand jobs: two inserts into each of three tables, in one writing transaction."""
    settings.DJANGO_AIS = NOBODY_TAKES
    before = ids_taken()

    jobs.dispatch_many("echo", range(1_000))

    assert ids_taken() - before <= 2  # the server's housekeeping may have taken one
    assert len([text for text in statements if text.startswith("INSERT")]) == 6


class StepsOnce(BaseWorker):
    """A no-op with one step."""

    repeat = "safe"

    def run(self, job):
        return job.step("act", lambda call_key=None: 1, repeat=self.repeat)


@registry.register("budget-safe-step")
class SafeStep(StepsOnce):
    """Its step may be repeated."""


@registry.register("budget-keyed-step")
class KeyedStep(StepsOnce):
    """Its step is told a call key, and its intent is recorded first."""

    repeat = "keyed"
