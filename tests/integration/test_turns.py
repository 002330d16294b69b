"""A strategy in conversation with a gateway: answers, schemas, repairs, refusals, usage, and replay."""

# mypy: disable-error-code="index"

from __future__ import annotations

import pytest
from pydantic import BaseModel

from django_ais import jobs
from django_ais.backends.gateway.scripted import Ending, ScriptedGateway, script
from django_ais.exceptions import GatewayError
from django_ais.gateways import BaseGateway, Message, RefusalPart, ThinkingPart, Usage
from django_ais.models import JobPacket, JobStep
from django_ais.retry import RetryPolicy
from django_ais.strategies import BaseStrategy
from tests.app.behaviour_workers import (
    AT_ONCE,
    ONCE_MORE,
    OutOfPaper,
    bury,
    die,
    events,
    note,
    notes,
    overwrite,
    said,
    settings_of,
    steps,
    worker_of,
)

pytestmark = pytest.mark.django_db(transaction=True)
ASK = {"prompt": "How much?"}


@pytest.fixture(autouse=True)
def immediate(settings):
    """Each job runs inside of its dispatch, and so does each attempt."""
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


class Total(BaseModel):
    amount: int


class AsksForTotal(BaseStrategy):
    def get_output_schema(self):
        return Total


def talk(gateway: BaseGateway, strategy: BaseStrategy | None = None, **members) -> JobPacket:
    """A job that thinks once, after its run."""
    worker = worker_of(lambda job: job.think(strategy or BaseStrategy(), gateway), **members)
    return jobs.get(jobs.dispatch(worker, ASK))


def usage(job: JobPacket) -> tuple[int, int, int]:
    return (job.input_tokens, job.output_tokens, job.cost)


def used(tokens_in: int, tokens_out: int) -> Usage:
    return Usage(input_tokens=tokens_in, output_tokens=tokens_out)


# -- answers


def test_an_answer_without_a_schema_is_text():
    job = talk(script(default="It is 3."))

    assert (job.status, job.result) == ("succeeded", "It is 3.")


def test_an_answer_is_streamed_as_one_message():
    job = talk(script(default=[ThinkingPart(text="Well"), "It is ", "3."]))

    told = events(job, "thought.delta", "message.started", "message.delta", "message.completed", "job.succeeded")
    assert told[0] == "thought.delta"
    assert told[1] == "message.started"
    assert told[-2:] == ["message.completed", "job.succeeded"]
    assert "".join(data["text"] for data in said(job, "message.delta")) == "It is 3."
    assert {data["message"] for data in said(job, "message.delta")} == {"turn-1"}
    assert said(job, "message.completed") == [{"message": "turn-1", "finish": "stop"}]


def test_the_default_run_takes_the_workers_strategy_and_the_settings_gateway(settings):
    settings.DJANGO_AIS = settings_of(
        GATEWAYS={"default": {"BACKEND": "scripted", "OPTIONS": {"default": {"amount": 3}}}}
    )

    job = jobs.get(jobs.dispatch(worker_of(strategy_class=AsksForTotal), ASK))

    assert (job.status, job.result) == ("succeeded", {"amount": 3})


def test_a_worker_may_name_a_gateway_class_of_its_own():
    class Own(ScriptedGateway):
        def __init__(self, alias, options=None):
            super().__init__(alias, {"default": f"from {alias}"})

    job = jobs.get(jobs.dispatch(worker_of(strategy_class=BaseStrategy, gateway_class=Own, gateway="mine"), ASK))

    assert job.result == "from mine"


def test_a_worker_without_a_strategy_says_so():
    job = jobs.get(jobs.dispatch(worker_of(), ASK))

    assert (job.status, job.error["code"]) == ("failed", "configuration")
    assert "strategy_class" in job.error["message"]


def test_a_strategy_sees_a_snapshot_with_what_was_prepared():
    class Told(BaseStrategy):
        def compose_context(self, job):
            note(job.model_dump(exclude={"id"}))
            return {"prompt": "x"}

    worker = worker_of(strategy_class=Told, prepare=lambda job: {"customer": "Ada"})
    jobs.dispatch(worker, ASK, tenant="acme")

    assert notes[0] == {
        "type": worker, "payload": ASK, "tenant": "acme", "user_id": None, "attempt": 1,
        "inputs": {"customer": "Ada"}, "parent_id": None,
    }  # fmt: skip


def test_one_job_may_think_more_than_once():
    gateway = script("first", "second")
    worker = worker_of(lambda job: [job.think(BaseStrategy(), gateway) for _ in range(2)])

    job = jobs.get(jobs.dispatch(worker, ASK))

    assert job.result == ["first", "second"]
    assert len(steps(job)) == 2


# -- schemas and repairs


@pytest.mark.parametrize("answer", [{"amount": 3}, '{"amount": 3}'])
def test_an_answer_that_fits_the_schema_is_the_result(answer):
    assert talk(script(default=answer), AsksForTotal()).result == {"amount": 3}


def test_an_answer_that_does_not_fit_is_asked_for_again():
    gateway = script("three", {"amount": 3})

    job = talk(gateway, AsksForTotal())

    assert (job.status, job.result, job.attempt) == ("succeeded", {"amount": 3}, 1)
    second = gateway.requests[1]
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[1].text == "three"
    assert "That does not fit" in second.messages[2].text


def test_the_answer_that_did_not_fit_is_a_failed_step_and_charged():
    job = talk(script(["three", used(10, 2)], [{"amount": 3}, used(20, 4)]), AsksForTotal())

    assert steps(job) == {"turn-1": "failed", "turn-2": "done"}
    assert usage(job) == (30, 6, 0)
    assert [(data["step"], data["input_tokens"]) for data in said(job, "usage.recorded")] == [
        ("turn-1", 10), ("turn-2", 20),
    ]  # fmt: skip


def test_repairs_are_limited_and_then_the_attempt_fails():
    gateway = script("three", "four", {"amount": 5})

    job = talk(gateway, AsksForTotal())

    assert (job.status, job.error["code"], len(gateway.requests)) == ("failed", "output_invalid", 2)


def test_an_attempt_without_a_fitting_answer_may_be_tried_again():
    job = talk(script("three", "four", {"amount": 5}), AsksForTotal(), retry_policy=ONCE_MORE)

    assert (job.status, job.result, job.attempt) == ("succeeded", {"amount": 5}, 2)


def test_a_gateway_without_schemas_is_asked_in_words():
    class Plain(ScriptedGateway):
        supports_output_schema = False

    gateway = Plain("plain", {"default": '{"amount": 3}'})

    job = talk(gateway, AsksForTotal())

    (request,) = gateway.requests
    assert job.result == {"amount": 3}
    assert request.output is None
    assert "amount" in request.messages[0].text


# -- endings


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ([RefusalPart(text="I will not.")], "refusal"),
        (["no", Ending(finish="content_filter")], "content_filter"),
        (["half an ans", Ending(finish="length")], "output_length"),
    ],
)
def test_an_answer_that_is_none_fails_the_job_without_a_retry_and_is_charged(answer, code):
    job = talk(script(default=[*answer, used(10, 5)]), retry_policy=RetryPolicy(max_retries=3, backoff=AT_ONCE))

    assert (job.status, job.error["code"], job.attempt) == ("failed", code, 1)
    assert usage(job) == (10, 5, 0)
    assert steps(job) == {"turn-1": "failed"}


def test_a_fault_of_the_gateway_is_tried_again_by_the_jobs_policy():
    gateway = script(GatewayError("busy", code="overloaded"), "the second time it works")

    job = talk(gateway, retry_policy=ONCE_MORE)

    assert (job.status, job.result, job.attempt) == ("succeeded", "the second time it works", 2)
    assert said(job, "job.retried")[0]["code"] == "overloaded"


def test_what_was_streamed_before_a_fault_is_kept_and_the_next_try_is_another_message():
    gateway = script(["It ", GatewayError("gone", code="connection")], "It is 3.")

    job = talk(gateway, retry_policy=ONCE_MORE)

    told: dict[str, str] = {}
    for data in said(job, "message.delta"):
        told[data["message"]] = told.get(data["message"], "") + data["text"]
    assert list(told.values()) == ["It ", "It is 3."]
    assert len(said(job, "message.completed")) == 1


# -- usage


def test_usage_of_all_turns_is_on_the_row_and_in_the_events():
    job = talk(script(["It is 3.", used(10, 5), Ending(cost=17)]))

    assert usage(job) == (10, 5, 17)
    (recorded,) = said(job, "usage.recorded")
    assert (recorded["input_tokens"], recorded["output_tokens"], recorded["cost"]) == (10, 5, 17)


def think_then_fail(gateway: BaseGateway) -> JobPacket:
    def run(job):
        answer = job.think(BaseStrategy(), gateway)
        if job.attempt == 1:
            raise OutOfPaper
        return answer

    return jobs.get(jobs.dispatch(worker_of(run, retry_policy=ONCE_MORE), ASK))


def test_an_answer_that_is_recorded_is_not_asked_for_or_charged_again():
    gateway = script(["It is 3.", used(10, 5), Ending(cost=17)])

    job = think_then_fail(gateway)

    assert (job.status, job.result, job.attempt) == ("succeeded", "It is 3.", 2)
    assert len(gateway.requests) == 1
    assert usage(job) == (10, 5, 17)


def test_an_answer_that_is_recorded_is_not_told_again():
    job = think_then_fail(script(["It is 3.", used(10, 5)]))

    for type in ("message.started", "message.completed", "usage.recorded"):
        assert len(said(job, type)) == 1, type
    assert "".join(data["text"] for data in said(job, "message.delta")) == "It is 3."


def test_the_usage_of_failed_tries_adds_up_over_attempts():
    gateway = script(*[["three", used(10, 1)] for _ in range(4)])

    job = talk(gateway, AsksForTotal(), retry_policy=ONCE_MORE)

    assert (job.status, job.attempt, usage(job)) == ("failed", 2, (40, 4, 0))


def test_usage_that_a_crash_kept_from_the_row_is_taken_from_the_steps():
    gateway = script(["It is 3.", used(10, 5), Ending(cost=17)])

    def run(job):
        answer = job.think(BaseStrategy(), gateway)
        if job.attempt == 1:
            die(job)
        return answer

    job = jobs.dispatch(worker_of(run), ASK)
    overwrite(job, input_tokens=0, output_tokens=0, cost=0)
    bury(job)

    assert usage(jobs.get(job)) == (10, 5, 17)


def test_a_retry_by_hand_is_charged_for_its_own_calls_alone():
    gateway = script(["It is 3.", used(10, 5)])

    def run(job):
        job.think(BaseStrategy(), gateway)
        raise OutOfPaper

    job = jobs.get(jobs.dispatch(worker_of(run, retry_policy=ONCE_MORE), ASK))
    again = jobs.get(jobs.retry(job))

    assert (usage(job), usage(again)) == ((10, 5, 0), (0, 0, 0))
    assert len(gateway.requests) == 1


def test_the_call_key_of_a_turn_is_the_same_on_every_attempt():
    class Watched(ScriptedGateway):
        async def _stream(self, request, context):
            note((context.call_key, context.attempt))
            async for piece in super()._stream(request, context):
                yield piece

    gateway = Watched("watched", {"script": [GatewayError("busy", code="overloaded"), "yes"]})

    job = talk(gateway, retry_policy=ONCE_MORE)

    assert notes == [(f"{job.id}:turn-1", 1), (f"{job.id}:turn-1", 2)]


def test_a_prompt_that_changed_between_attempts_fails_loudly():
    class Forgetful(BaseStrategy):
        def compose_context(self, job):
            return {"prompt": f"attempt {job.attempt}"}

    def run(job):
        job.think(Forgetful(), gateway)
        raise OutOfPaper

    gateway = script(default="yes")
    job = jobs.get(jobs.dispatch(worker_of(run, retry_policy=ONCE_MORE), ASK))

    assert job.error["code"] == "step_mismatch"
    assert "turn-1" in job.error["message"]


def test_a_recorded_turn_holds_the_whole_answer():
    job = talk(script(default=["It is ", "3.", used(10, 5)]))

    (step,) = JobStep.objects.filter(job=job)
    assert (step.kind, step.input_tokens, step.output_tokens) == ("gateway", 10, 5)
    assert Message.model_validate({"role": "assistant", "parts": step.output["parts"]}).text == "It is 3."
