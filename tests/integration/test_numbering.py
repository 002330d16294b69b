"""A run's events are numbered 1, 2, 3, ... in commit order, without a hole, whoever writes and whenever one looks."""

from __future__ import annotations

import threading

import pytest
from django.db import transaction

from django_ais import jobs
from django_ais.models import AgentEvent
from django_ais.runtime import combined, database, engine, flushing, journal, reading, runner, sql
from tests.harness.attempts import active, by_hand, claim, fresh, park, picture, told  # noqa: F401
from tests.harness.interleave import Stage, needs_row_locks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]

WRITERS = 8
ROUNDS = 12


def write_all_ways(attempt):
    """Say things by flush, by step and by settle, in turns: every path that takes numbers."""
    job = active(attempt)
    for number in range(ROUNDS):
        job.log(f"{attempt.row.id} {number}")
        if number % 3 == 0:
            job.step(f"step {number}", lambda number=number: number)
        else:
            with attempt.buffer.writing:
                flushing.flush_together([attempt.buffer])
    engine.succeed(attempt, None, None)


def follow(run, stop):
    """Read "after N" again and again; fail at the first look that shows a hole, or what was shown before."""
    seen: list[int] = []
    looks, is_last_look = 0, False
    while not is_last_look:
        is_last_look = stop.wait(0.002)  # without a pause the reader would starve the writers of this interpreter
        new = [envelope.seq for envelope in reading.page(run.id, "", seen[-1] if seen else 0)]
        assert new == list(range(len(seen) + 1, len(seen) + len(new) + 1)), f"look {looks} after {len(seen)}: {new}"
        seen += new
        looks += 1
    return looks, len(seen)


def test_eight_writers_leave_no_hole_for_a_reader_who_looks_at_any_time():
    """Flushes, steps and settles of eight jobs of one run at once; a reader looks all the while."""
    top = jobs.dispatch("effect")
    attempts = [claim(child) for child in park(claim(top), *["effect"] * WRITERS)]
    stop = threading.Event()
    with Stage() as stage:
        reader = stage.start(lambda: follow(top, stop))
        writers = [stage.start(write_all_ways, attempt) for attempt in attempts]
        for writer in writers:
            writer.join()
        stop.set()
        looks, count = reader.result()
        for writer in writers:
            writer.result()

    assert count == len(told(top))
    assert told(top).count("log.written") == WRITERS * ROUNDS
    assert told(top).count("job.succeeded") == WRITERS
    assert looks > 2


def test_what_one_job_says_keeps_its_order():
    """Within a job the numbers follow the order of its words, on whichever path they were written."""
    top = jobs.dispatch("effect")
    attempts = [claim(child) for child in park(claim(top), "effect", "effect")]
    with Stage() as stage:
        for writer in [stage.start(write_all_ways, attempt) for attempt in attempts]:
            writer.result()

    for attempt in attempts:
        rows = AgentEvent.objects.filter(job=attempt.row.id, type="log.written").order_by("seq")
        assert [row.data["message"] for row in rows] == [f"{attempt.row.id} {number}" for number in range(ROUNDS)]


@needs_row_locks
def test_a_reader_of_autoincrement_ids_would_miss_events_for_ever():
    """Why there are numbers: ids are handed out before the commit, so a later id can be seen earlier.

    A reader of ``id > last`` who looks between the two commits never sees the first; "after N" of the run does.
    """
    slow, fast = jobs.dispatch("effect"), jobs.dispatch("effect")
    attempts = [claim(slow), claim(fast)]
    last = max(AgentEvent.objects.values_list("id", flat=True))
    for attempt in attempts:
        active(attempt).log("news")
    with Stage() as stage:
        written = stage.before_commit()
        slow_flush = stage.start(lambda: flushing.flush_together([attempts[0].buffer]))
        written.await_reached()
        flushing.flush_together([attempts[1].buffer])
        first_look = list(AgentEvent.objects.filter(id__gt=last).order_by("id").values_list("root", "id"))
        written.open()
        slow_flush.result()

    second_look = list(AgentEvent.objects.filter(id__gt=first_look[-1][1]).values_list("root", flat=True))
    assert [root for root, _ in first_look] == [fast.id]
    assert second_look == []
    assert [envelope.type for envelope in reading.page(slow.id, "", 1)] == ["log.written"]


def test_a_rolled_back_transaction_takes_no_number():
    """Numbers come from the run's row, which is rolled back with the event: no hole is left behind."""
    job = jobs.dispatch("effect")
    attempt = claim(job)
    active(attempt).log("kept")

    def doomed():
        journal.write(job.id, "", attempt.buffer.take())
        transaction.set_rollback(True)

    database.transact(doomed)
    attempt.buffer.keep()
    engine.succeed(attempt, None, None)

    assert told(job) == ["job.queued", "log.written", "job.succeeded"]


def test_what_was_said_before_a_step_is_there_when_the_step_is():
    """Memo and text agree: the step's own transaction writes the buffer, so a crash right after it tears nothing."""
    job = jobs.dispatch("effect")
    attempt = claim(job)
    active(attempt).log("before the step")

    active(attempt).step("act", lambda: 1)

    after = picture(job)
    assert [row["data"].get("message") for row in after["events"]] == [None, "before the step"]
    assert [row["status"] for row in after["steps"]] == ["done"]


def test_what_was_said_before_a_step_that_is_refused_stays_unsaid():
    """The step's transaction is rolled back as a whole, and its words are kept for the next."""
    job = jobs.dispatch("effect")
    attempt = claim(job)
    active(attempt).log("before the step")

    def broken(*_, **__):
        raise RuntimeError("the database refused it")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*((combined, "record_step") if database.is_postgres() else (sql, "upsert_step")), broken)
        with pytest.raises(RuntimeError):
            active(attempt).step("act", lambda: 1)
    assert told(job) == ["job.queued"]

    engine.succeed(attempt, None, None)
    assert told(job) == ["job.queued", "log.written", "job.succeeded"]


def test_a_job_of_one_run_is_numbered_beside_its_own_settle():
    """A settle waits for a flush that is writing the same buffer, and says what is left after it."""
    job = jobs.dispatch("effect")
    attempt = claim(job)
    active(attempt).log("first")
    with Stage() as stage:
        flushed = stage.before_commit()

        def flush():
            with attempt.buffer.writing:
                flushing.flush_together([attempt.buffer])

        flushed_by = stage.start(flush)
        flushed.await_reached()
        active(attempt).log("second")
        settle = stage.start(lambda: engine.succeed(attempt, None, None))
        assert fresh(job).status == "running"
        flushed.open()
        flushed_by.result()
        settle.result()

    assert [row["data"].get("message") for row in picture(job)["events"]] == [None, "first", "second", None]


def test_a_job_that_runs_by_message_is_numbered_from_its_start():
    """`job.started` is the attempt's first numbered event and costs no commit of its own."""
    job = jobs.dispatch("effect")

    runner.handle(str(job.id))

    assert told(job) == ["job.queued", "job.started", "job.succeeded"]
