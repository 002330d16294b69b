"""What a worker's hooks return or say and nobody can keep: the job fails with a clear error and writes nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from django_ais import jobs, registry
from django_ais.events import CustomEvent, JobSucceeded
from django_ais.models import AgentEvent, JobPacket, JobStep
from django_ais.workers import BaseWorker, Child
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

Hook = Callable[..., Any]


@pytest.fixture
def hooked(settings: Any) -> Iterator[Callable[..., JobPacket]]:
    """Dispatches a job whose worker has these hooks, runs it, and returns it as it is then."""

    def run_with(**hooks: Hook) -> JobPacket:
        methods: dict[str, Any] = {"run": lambda self, job: {"fine": True}, "on_done": write_effect, **hooks}
        registry.register("hooked", type("Hooked", (BaseWorker,), methods))
        return jobs.get(jobs.dispatch("hooked"))

    yield run_with
    registry._workers.pop("hooked", None)


def write_effect(self: Any, job: Any, result: Any, children: Any) -> None:
    Effect.objects.create(job_id=str(job.id), name="done")


def test_the_hooks_of_these_tests_are_fine_without_a_fault(hooked):
    """The negative control: given no fault, when the job runs, then it succeeds and its effect is there."""
    assert hooked().status == "succeeded"
    assert Effect.objects.count() == 1


RESULTS: dict[str, tuple[Hook, tuple[str, ...]]] = {
    "an object": (lambda: {"answer": object()}, ("the result of hooked.answer", "object", "not JSON")),
    "a time": (lambda: [timezone.now()], ("the result of hooked[0]", "datetime", "not JSON")),
    "NUL": (lambda: "a\0", ("the result of hooked", "NUL", "remove it")),
    "a lone surrogate": (lambda: {"a": "\ud800"}, ("the result of hooked.a", "lone surrogate")),
    "2 MB": (lambda: "x" * 2_000_000, ("the result of hooked", "2,000,002 bytes", "MAX_PAYLOAD_BYTES")),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_result_that_cannot_be_kept_fails_the_job(case, hooked):
    """Given such a result, when `run` returns it, then the job's error names it, and `on_done` wrote nothing."""
    result, says = RESULTS[case]

    job = hooked(run=lambda self, job: result())

    assert (job.status, job.error["code"], job.result) == ("failed", "invalid_payload", None)
    assert_says(job, says)
    assert Effect.objects.count() == 0


EVENTS: dict[str, tuple[Hook, tuple[str, ...]]] = {
    "an unknown type": (lambda job: job.emit("job.exploded"), ("'job.exploded'", "x.<app>.<name>")),
    "an unknown field": (lambda job: job.emit("job.progress", curent=1), ("job.progress", "field curent")),
    "a field of another type": (lambda job: job.emit("job.progress", current="half"), ("field current", "number")),
    "a field not JSON": (lambda job: job.emit("x.shop.sold", what=object()), ("x.shop.sold", "field what", "not JSON")),
    "a field named type": (
        lambda job: job.emit("x.shop.sold", type="a"),
        ("x.shop.sold", "field type", "another name"),
    ),
    "the runtime's own": (lambda job: job.emit("job.succeeded"), ("job.succeeded", "the runtime alone")),
    "the runtime's own, made": (lambda job: job.emit(JobSucceeded()), ("job.succeeded", "the runtime alone")),
    "the runtime's own, disguised": (lambda job: job.emit(CustomEvent(type="run.failed")), ("the runtime alone",)),
    "no event": (lambda job: job.emit(5), ("an event type or an Event", "int")),
}


@pytest.mark.parametrize("case", EVENTS)
def test_an_event_that_is_none_fails_the_job(case, hooked):
    """Given such an event, when a hook says it, then the job's error names type and field, and it is not stored."""
    emit, says = EVENTS[case]

    job = hooked(run=lambda self, job: emit(job))

    assert job.status == "failed"
    assert_says(job, says)
    assert told(job) == ["job.queued", "job.started", "job.failed"]


def test_an_event_of_any_text_and_size_is_kept_in_a_form_that_can_be(hooked):
    """Given NUL, a surrogate, NaN and a megabyte, when said in an event of one's own, then the job goes on."""
    job = hooked(run=lambda self, job: job.emit("x.shop.sold", a="\0\ud800", b=float("nan"), c="x" * 1_000_000))

    event = AgentEvent.objects.get(root=job.root_id, type="x.shop.sold")
    assert job.status == "succeeded"
    assert (event.data["a"], event.data.get("b")) == ("\ufffd\ufffd", None)
    assert len(event.data["c"]) < 65_536


STEPS: dict[str, tuple[Hook, tuple[str, ...]]] = {
    "an object": (object, ("the output of step 'look'", "not JSON")),
    "NUL": (lambda: "a\0", ("the output of step 'look'", "NUL")),
    "2 MB": (lambda: "x" * 2_000_000, ("the output of step 'look'", "2,000,002 bytes")),
}


@pytest.mark.parametrize("case", STEPS)
def test_a_steps_output_that_cannot_be_kept_fails_the_job(case, hooked):
    """Given such an output, when the step returns it, then the error names the step, and no step is recorded."""
    output, says = STEPS[case]

    job = hooked(run=lambda self, job: job.step("look", output))

    assert (job.status, job.error["code"]) == ("failed", "invalid_payload")
    assert_says(job, says)
    assert JobStep.objects.count() == 0


CHILDREN: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "an unknown type": ({"type": "ecco"}, "unknown_worker", ("'ecco'", "Did you mean 'echo'?")),
    "a payload not JSON": ({"type": "echo", "payload": {1}}, "invalid_payload", ("payload of child echo", "set")),
    "an unknown queue": ({"type": "echo", "queue": "defalt"}, "configuration", ("'defalt'", "Did you mean 'default'?")),
    "a wild priority": ({"type": "echo", "priority": 10**6}, "dispatch_refused", ("priority", "-100 to 100")),
    "a wrong config": ({"type": "echo", "config": {"timeout": "x"}}, "dispatch_refused", ("config.timeout", "number")),
    "a config not JSON": ({"type": "echo", "config": {"a": b""}}, "invalid_payload", ("config.a", "bytes")),
    "the workflows' worker": ({"type": "ais.workflow"}, "dispatch_refused", ("ais.workflow", "jobs.start")),
}


@pytest.mark.parametrize("case", CHILDREN)
def test_a_child_that_cannot_be_dispatched_fails_its_parent(case, hooked):
    """Given such a child, when dispatched from `run`, then the parent's error names it, and no child exists."""
    child, code, says = CHILDREN[case]

    job = hooked(run=lambda self, job: str(job.dispatch(**child)))

    assert (job.status, job.error["code"], JobPacket.objects.count()) == ("failed", code, 1)
    assert_says(job, says)


@pytest.mark.parametrize("case", CHILDREN)
def test_a_child_that_cannot_follow_fails_its_parent(case, hooked):
    """Given such a child after a good one, when `route` asks for both, then the parent fails and neither exists."""
    child, code, says = CHILDREN[case]

    job = hooked(route=lambda self, job, result: [Child(type="echo"), Child(**child)])

    assert (job.status, job.error["code"], JobPacket.objects.count()) == ("failed", code, 1)
    assert_says(job, says)
    assert told(job) == ["job.queued", "job.started", "job.failed"]


PREPARED: dict[str, tuple[Hook, tuple[str, ...]]] = {
    "nothing": (lambda self, job: None, ("Hooked.prepare", "NoneType", "dict")),
    "an object": (lambda self, job: {"row": object()}, ("'prepare'.row", "object", "not JSON")),
}


@pytest.mark.parametrize("case", PREPARED)
def test_what_prepare_returns_has_to_be_values(case, hooked):
    """Given a `prepare` that returns no dict of JSON, when the job runs, then the error names the hook."""
    prepare, says = PREPARED[case]

    job = hooked(prepare=prepare)

    assert job.status == "failed"
    assert_says(job, says)


def test_a_worker_without_strategy_and_run_says_so(hooked):
    """Given a worker that says neither how it thinks nor what it does, when it runs, then the error names both ways."""
    job = hooked(run=BaseWorker.run)

    assert (job.status, job.error["code"]) == ("failed", "configuration")
    assert_says(job, ("Hooked", "strategy_class", "run()"))


def test_an_error_with_text_that_no_database_keeps_is_still_recorded(hooked):
    """Given a message with NUL and a surrogate, when a hook raises it, then the job fails with what is left of it."""

    def fail(self: Any, job: Any) -> None:
        raise ValueError("no \0 and no \ud800")

    job = hooked(run=fail)

    assert (job.status, job.error["message"]) == ("failed", "no \ufffd and no \ufffd")
    assert job.error["type"] == "builtins.ValueError"


def test_a_failure_after_children_keeps_the_name_of_its_error(hooked):
    """Given a job with an open child, when it fails, then the error recorded last is the one that was raised."""

    def fail(self: Any, job: Any) -> None:
        job.dispatch("echo", run_after=timezone.now() + datetime.timedelta(days=1))
        raise ValueError("too late")

    job = hooked(run=fail)

    assert (job.status, job.error["message"], job.error["type"]) == ("failed", "too late", "builtins.ValueError")


def told(job: JobPacket) -> list[str]:
    return list(AgentEvent.objects.filter(root=job.root_id).order_by("seq").values_list("type", flat=True))


def assert_says(job: JobPacket, parts: tuple[str, ...]) -> None:
    assert [part for part in parts if part not in (job.error or {})["message"]] == [], job.error
