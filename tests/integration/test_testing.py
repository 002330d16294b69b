"""The test kit: what application authors lean on, in a plain TestCase and in pytest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.test import TestCase

from django_ais import jobs, registry
from django_ais.exceptions import ConfigurationError, GatewayError
from django_ais.models import AgentEvent
from django_ais.retry import Backoff, RetryPolicy
from django_ais.strategies import BaseStrategy
from django_ais.testing import (
    AgentTestMixin,
    assert_events,
    assert_run_tree,
    crash_after,
    drain,
    frozen_clock,
    run_job,
    run_now,
    scripted,
)
from django_ais.workers import BaseWorker, Child
from tests.app.models import Effect


class Ask(BaseStrategy):
    def compose_context(self, job: Any) -> dict[str, Any]:
        return {"prompt": f"Summarize: {job.payload['text']}"}


@registry.register("kit.ask")
class Asks(BaseWorker):
    strategy_class = Ask
    retry_policy: ClassVar[RetryPolicy] = RetryPolicy(max_retries=2, backoff=Backoff(first=3600))

    def on_done(self, job: Any, result: Any, children: Any) -> None:
        Effect.objects.create(job_id=str(job.id), name=str(result))


@registry.register("kit.fan")
class FansOut(BaseWorker):
    def run(self, job: Any) -> int:
        return 3

    def route(self, job: Any, result: int) -> list[Child]:
        return [Child(type="echo", payload=number) for number in range(result)]


class InAPlainTestCase(AgentTestMixin, TestCase):
    """The kit works inside the transaction that Django's TestCase rolls back."""

    def test_a_job_runs_to_its_end(self) -> None:
        with scripted("short"):
            job = self.run_job("kit.ask", {"text": "long"})
        assert (job.status, job.result) == ("succeeded", "short")
        self.assertEvents(job, ["job.queued", "job.started", "message.delta", "job.succeeded"])

    def test_children_are_joined(self) -> None:
        job = self.run_job("kit.fan")
        self.assertRunTree(job, {"kit.fan": "succeeded", "echo": "succeeded"})

    def test_a_gateway_that_would_call_out_is_refused(self) -> None:
        class CallsOut(registry.gateways.load("scripted")):  # type: ignore[misc]
            calls_out = True

        with registry.gateways.override("default", CallsOut.answering("paid")):
            job = self.run_job("kit.ask", {"text": "long"})
        assert job.status == "failed"
        assert "ALLOW_GATEWAY_REQUESTS" in str(job.error)


@pytest.mark.django_db
class TestInPytest:
    def test_a_retry_waits_for_nobody(self) -> None:
        """Given a gateway that fails twice, an hour's backoff is over at once."""
        fault = GatewayError("busy", code="overloaded")
        with scripted([fault, fault, "at last"]) as gateway:
            job = run_job("kit.ask", {"text": "long"})
        assert (job.status, job.retries, len(gateway.requests)) == ("succeeded", 2, 3)
        assert_events(job, ["job.started", "job.retried", "job.started", "job.retried", "job.started", "job.succeeded"])

    def test_a_crash_is_survived(self) -> None:
        """Given a crash in the middle of a stream, the next attempt finishes and the effect is there once."""
        with scripted(["one two", "one two"]), crash_after("message.delta"):
            job = run_job("kit.ask", {"text": "long"})
        assert (job.status, job.attempt, job.retries) == ("succeeded", 2, 0)
        assert Effect.objects.filter(job_id=str(job.id)).count() == 1
        started = AgentEvent.objects.filter(root=job.id, type="job.started").count()
        assert started == 2

    def test_the_clock_stands_still_until_it_is_moved(self) -> None:
        """Given a stopped clock, a job's times are the clock's."""
        with frozen_clock() as clock:
            begun = clock.moment
            job = jobs.get(jobs.dispatch("echo", 1))
            clock.advance(timedelta(hours=2))
            drain()
            done = jobs.get(job)
        assert (done.created_at, done.finished_at) == (begun, begun + timedelta(hours=2))

    def test_assertions_say_what_they_found(self) -> None:
        """Given a run that is not as expected, the message shows what it is."""
        job = run_job("echo", 1)
        with pytest.raises(AssertionError, match="succeeded"):
            assert_run_tree(job, {"echo": "failed"})
        with pytest.raises(AssertionError, match=r"no job\.failed"):
            assert_events(job, ["job.failed"])

    def test_an_unknown_workflow_is_named(self) -> None:
        """Given a name that nobody imported, the error says so."""
        with pytest.raises(Exception, match="nobody_imported_this"):
            run_now("nobody_imported_this")


def test_a_script_ends_with_its_block() -> None:
    """Given a script, the alias means what the settings say once the block is over."""
    with scripted("x") as gateway:
        assert registry.gateways["default"] is gateway
    assert registry.gateways["default"] is not gateway
    with pytest.raises(ConfigurationError):
        registry.gateways["nowhere"]
