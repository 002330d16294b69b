"""The process's flusher: one commit for what all its jobs say; what fails stays in order and fails nobody else."""

from __future__ import annotations

import pytest
from django.db import DataError, OperationalError

from django_ais import jobs
from django_ais.exceptions import JobError
from django_ais.models import AgentEvent
from django_ais.runtime import database, engine, flushing, runner, sql
from django_ais.runtime.flushing import Flusher
from tests.harness.attempts import active, by_hand, claim, fresh, told  # noqa: F401
from tests.harness.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]


@pytest.fixture
def flusher():
    started = Flusher()
    yield started
    started.stop()


@pytest.fixture
def insertions(monkeypatch):
    """What to do before the next insertions of events; and the number of rows of each that was tried."""
    script = Script(sql.insert_events)
    monkeypatch.setattr(sql, "insert_events", script)
    return script


class Script:
    def __init__(self, insert):
        self._insert = insert
        self.errors: list[Exception] = []
        self.poison = ""
        self.tried: list[int] = []

    def __call__(self, rows):
        self.tried.append(len(rows))
        if self.errors:
            raise self.errors.pop(0)
        if self.poison and any(row["data"].get("message") == self.poison for row in rows):
            raise DataError("invalid input")
        self._insert(rows)


def messages(job):
    rows = AgentEvent.objects.filter(job=job.id, type="log.written").order_by("seq")
    return [row.data["message"] for row in rows]


def flush_due(flusher, *attempts):
    """One round of the flusher, in this thread."""
    for attempt in attempts:
        flusher._due[attempt.buffer] = 0.0
    flusher._flush_due()


def test_all_jobs_of_a_process_share_a_commit(insertions, flusher):
    """Three runs have something to say: one insertion carries it."""
    attempts = [claim(jobs.dispatch("effect")) for _ in range(3)]
    for attempt in attempts:
        active(attempt).log("news")
    insertions.tried.clear()

    flush_due(flusher, *attempts)

    assert insertions.tried == [3]
    assert [messages(attempt.row) for attempt in attempts] == [["news"]] * 3


def test_a_flush_that_failed_is_written_run_by_run_in_order(insertions, flusher):
    """The first try fails as a whole; each run is then tried alone, and nobody's words change places."""
    attempts = [claim(jobs.dispatch("effect")) for _ in range(2)]
    for attempt in attempts:
        for word in ("one", "two", "three"):
            active(attempt).log(word)
    insertions.tried.clear()
    insertions.errors = [OperationalError("server closed the connection unexpectedly")]

    flush_due(flusher, *attempts)

    assert insertions.tried == [6, 3, 3]
    for attempt in attempts:
        assert messages(attempt.row) == ["one", "two", "three"]
        assert told(attempt.row) == ["job.queued", *["log.written"] * 3]


def test_a_run_whose_events_cannot_be_written_fails_only_its_own_job(insertions, flusher):
    """Its neighbour's words are written, and its own job ends with an error that says so."""
    poisoned, neighbour = claim(jobs.dispatch("effect")), claim(jobs.dispatch("effect"))
    active(poisoned).log("poison")
    active(neighbour).log("news")
    insertions.poison = "poison"

    flush_due(flusher, poisoned, neighbour)

    assert messages(neighbour.row) == ["news"]
    active(neighbour).log("more")
    with pytest.raises(JobError, match="could not be written: invalid input") as failure:
        active(poisoned).log("more")
    runner.Run(poisoned)._failed(failure.value)
    assert fresh(poisoned.row).status == "failed"
    assert told(poisoned.row) == ["job.queued", "job.failed"]


def test_a_database_that_is_away_fails_no_job(insertions, flusher):
    """What cannot be written because the database cannot be reached is kept in order and written when it is back."""
    attempt = claim(jobs.dispatch("effect"), flusher=flusher)
    insertions.tried.clear()
    insertions.errors = [OperationalError("could not connect") for _ in range(4)]
    active(attempt).log("one")
    until(lambda: len(insertions.tried) >= 2, what="a flush that failed")
    active(attempt).log("two")

    until(lambda: messages(attempt.row), what="the flush after the database came back")

    active(attempt).step("act", lambda: 1)
    assert messages(attempt.row) == ["one", "two"]
    assert attempt.lease.ended is None


def test_words_that_came_during_a_failed_flush_stay_behind_it(flusher, monkeypatch):
    """What is said while a flush fails is written after what that flush had taken."""
    attempt = claim(jobs.dispatch("effect"))
    active(attempt).log("one")

    def say_more_and_fail(work):
        active(attempt).log("two")
        raise OperationalError("gone")

    with attempt.buffer.writing, monkeypatch.context() as patch:
        patch.setattr(database, "transact", say_more_and_fail)
        with pytest.raises(OperationalError):
            flushing.flush_together([attempt.buffer])
    engine.succeed(attempt, None, None)

    assert messages(attempt.row) == ["one", "two"]
