"""A commit that lands while its answer is lost: nothing is written twice."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError

from django_ais import events, jobs
from django_ais.models import AgentEvent, JobStep
from django_ais.runtime import database, engine, lifecycle
from django_ais.runtime.flushing import Flusher
from django_ais.runtime.journal import Buffer
from django_ais.runtime.steps import Ledger, Outcome

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def buffer(settings: Any) -> Buffer:
    """A claimed job that has said one thing."""
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "database"}}
    claimed = lifecycle.claim(jobs.dispatch("echo", {}).id, alone=True)
    assert claimed is not None
    row, lease = claimed
    said = Buffer(lease, flusher=None)
    said.append(events.MessageDelta(message="turn-1", text="once "))
    said.row = row  # type: ignore[attr-defined]
    return said


@pytest.fixture
def unheard(buffer: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next write is committed, and the connection breaks before the answer."""
    failures = [OperationalError("server closed the connection unexpectedly")]

    def wrap(name: str) -> None:
        real = getattr(database, name)

        def landed(work: Any) -> Any:
            value = real(work)
            if failures:
                raise failures.pop()
            return value

        monkeypatch.setattr(database, name, landed)

    wrap("transact")
    wrap("at_once")


def texts(buffer: Buffer) -> list[str]:
    told = AgentEvent.objects.filter(job=buffer.lease.job_id, type="message.delta").order_by("seq")
    return [event.data["text"] for event in told]


@pytest.mark.usefixtures("unheard")
def test_a_flush_is_not_written_twice(buffer: Buffer) -> None:
    """Given a flush that landed unheard, when it is tried again, then the text stands once, and later text after it."""
    with buffer.writing:
        Flusher()._flush([buffer])
    buffer.append(events.MessageDelta(message="turn-1", text="more"))
    with buffer.writing:
        Flusher()._flush([buffer])
    assert texts(buffer) == ["once ", "more"]


@pytest.mark.usefixtures("unheard")
def test_what_a_step_carried_along_is_not_written_twice(buffer: Buffer) -> None:
    """Given a step's record that landed unheard, when the job goes on, then what was said before it stands once."""
    ledger = Ledger(engine.Attempt(buffer.row, buffer.lease, buffer))  # type: ignore[attr-defined]
    with pytest.raises(OperationalError):
        ledger.run("pay", "step", None, lambda: Outcome(1), repeat="safe")
    buffer.append(events.MessageDelta(message="turn-1", text="more"))
    ledger.run("ship", "step", None, lambda: Outcome(2), repeat="safe")
    assert texts(buffer) == ["once ", "more"]
    assert set(JobStep.objects.values_list("key", "status")) == {("pay", "done"), ("ship", "done")}


def test_a_write_that_did_not_land_is_made_again(buffer: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a flush that failed before its commit, when it is tried again, then nothing is missing."""
    failures = [OperationalError("no route")]

    def lost(work: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(work)

    real = database.transact
    monkeypatch.setattr(database, "transact", lost)
    with buffer.writing:
        Flusher()._flush([buffer])
    assert texts(buffer) == ["once "]
