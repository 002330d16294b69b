"""Tools of a strategy: what the model is told, what happens when it asks badly, and what is never done twice."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="arg-type, index"

from __future__ import annotations

import pytest
from pydantic import BaseModel

from django_ais import jobs
from django_ais.backends.gateway.scripted import ScriptedGateway, call, on, script
from django_ais.gateways import BaseGateway, GatewayRequest, ToolCallPart, Usage
from django_ais.models import JobPacket
from django_ais.strategies import BaseStrategy, Tool
from tests.app.behaviour_workers import (
    ONCE_MORE,
    OutOfPaper,
    bury,
    die,
    events,
    note,
    notes,
    said,
    settings_of,
    steps,
    worker_of,
)
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def immediate(settings):
    """Each job runs inside of its dispatch, and so does each attempt."""
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


def lookup(number: str, limit: int = 3) -> dict[str, int]:
    """Find an invoice."""
    note(("lookup", number, limit))
    return {"total": 12}


def offering(*tools, **attributes) -> BaseStrategy:
    """A strategy that offers these tools."""

    class Offering(BaseStrategy):
        def get_tools(self):
            return tools

    for name, value in attributes.items():
        setattr(Offering, name, value)
    return Offering()


def talk(gateway: BaseGateway, *tools, after=lambda job: None, **attributes) -> JobPacket:
    def run(job):
        answer = job.think(offering(*tools, **attributes), gateway)
        after(job)
        return answer

    return jobs.get(jobs.dispatch(worker_of(run, retry_policy=ONCE_MORE), {"prompt": "A-17?"}))


def asking(*calls: ToolCallPart, then: str = "done") -> ScriptedGateway:
    """A model that asks for these tools in its first turn and answers in its second."""
    return script(on("A-17?").says("Let me look. ", *calls), default=then)


def results(request: GatewayRequest) -> list[tuple[object, bool]]:
    """What the model was told of its calls: content and whether it is an error."""
    return [(result.content, result.is_error) for result in request.last_tool_results]


def fail_once(job) -> None:
    if job.attempt == 1:
        raise OutOfPaper


# -- asked and answered


def test_a_tool_is_called_and_its_result_told_to_the_model():
    gateway = asking(call("lookup", number="A-17"))

    job = talk(gateway, lookup)

    first, second = gateway.requests
    assert (job.status, job.result) == ("succeeded", "done")
    assert [tool.name for tool in first.tools] == ["lookup"]
    assert results(second) == [({"total": 12}, False)]
    assert notes == [("lookup", "A-17", 3)]
    assert list(steps(job)) == ["turn-1", "turn-1/tool-0", "turn-2"]


def test_the_events_of_a_conversation_come_in_its_order():
    job = talk(asking(call("lookup", number="A-17")), lookup)

    told = [type for type in events(job) if type not in ("message.delta", "usage.recorded")]
    assert told == [
        "job.queued", "job.started", "message.started", "message.completed", "tool.called", "tool.returned",
        "message.started", "message.completed", "job.succeeded",
    ]  # fmt: skip
    assert said(job, "tool.called") == [
        {"call": "turn-1/tool-0", "name": "lookup", "arguments": {"number": "A-17"}}
    ]  # fmt: skip
    assert said(job, "tool.returned") == [{"call": "turn-1/tool-0", "name": "lookup", "content": {"total": 12}}]


def test_several_calls_of_one_turn_are_answered_in_their_order():
    gateway = asking(call("lookup", number="A"), call("lookup", number="B", limit=1))

    talk(gateway, lookup)

    assert notes == [("lookup", "A", 3), ("lookup", "B", 1)]
    assert len(results(gateway.requests[1])) == 2


def test_a_tool_may_be_async_and_read_the_database():
    async def count() -> int:
        return await Effect.objects.acount()

    gateway = asking(call("count"))

    job = talk(gateway, count)

    assert job.status == "succeeded"
    assert results(gateway.requests[1]) == [(0, False)]


def test_a_tool_without_a_result_says_null():
    gateway = asking(call("log"))

    job = talk(gateway, Tool(lambda: None, name="log"))

    assert job.status == "succeeded"
    assert results(gateway.requests[1]) == [(None, False)]


def test_a_result_may_be_a_pydantic_model():
    class Invoice(BaseModel):
        total: int

    gateway = asking(call("fetch"))

    talk(gateway, Tool(lambda: Invoice(total=3), name="fetch"))

    assert results(gateway.requests[1]) == [({"total": 3}, False)]


def test_a_keyed_tool_is_given_its_call_key():
    def pay(number: str, *, call_key: str) -> str:
        note(call_key)
        return "paid"

    job = talk(asking(call("pay", number="A-17")), Tool(pay, repeat="keyed"))

    assert notes == [f"{job.id}:turn-1/tool-0"]


# -- asked badly


def test_an_unknown_tool_is_answered_with_the_known_ones():
    gateway = asking(call("find", number="A-17"))

    job = talk(gateway, lookup)

    ((told, is_error),) = results(gateway.requests[1])
    assert job.status == "succeeded"
    assert is_error
    assert "no tool 'find'" in str(told)
    assert "lookup" in str(told)


@pytest.mark.parametrize("arguments", [{}, {"number": "A", "limit": "many"}, {"number": "A", "colour": "red"}])
def test_arguments_that_do_not_fit_are_answered_with_what_is_wrong(arguments):
    gateway = asking(call("lookup", **arguments))

    job = talk(gateway, lookup)

    ((told, is_error),) = results(gateway.requests[1])
    assert (job.status, is_error, notes) == ("succeeded", True, [])
    assert "arguments do not fit" in str(told)
    assert [data["code"] for data in said(job, "tool.failed")] == ["invalid_arguments"]


def test_arguments_that_are_no_json_are_answered_too():
    gateway = asking(ToolCallPart(id="", name="lookup", malformed="{number:"))

    job = talk(gateway, lookup)

    assert job.status == "succeeded"
    assert results(gateway.requests[1]) == [("the arguments were not a JSON object", True)]


def test_a_model_that_only_asks_is_stopped_after_max_turns():
    gateway = script(default=call("lookup", number="A"))

    job = talk(gateway, lookup, max_turns=3)

    assert (job.status, job.attempt, len(gateway.requests)) == ("failed", 1, 3)
    assert "3 turns" in job.error["message"]


# -- tools that fail


def test_an_error_in_a_tool_fails_the_attempt_and_is_told():
    def broken(number: str) -> str:
        raise OutOfPaper(f"no paper for {number}")

    job = talk(asking(call("broken", number="A-17")), broken)

    assert (job.status, job.error["code"]) == ("failed", "OutOfPaper")
    assert said(job, "tool.failed")[0] == {
        "call": "turn-1/tool-0", "name": "broken", "code": "OutOfPaper", "message": "no paper for A-17",
    }  # fmt: skip


def test_a_tool_that_failed_is_called_again_by_the_next_attempt_and_the_model_is_not_asked_again():
    def shaky(number: str) -> str:
        note(number)
        if len(notes) == 1:
            raise OutOfPaper
        return "found"

    gateway = asking(call("shaky", number="A-17"))

    job = talk(gateway, shaky)

    assert (job.status, job.result, job.attempt) == ("succeeded", "done", 2)
    assert notes == ["A-17", "A-17"]
    assert len(gateway.requests) == 2


def test_a_validation_error_inside_of_a_tool_is_the_tools_own():
    """Not an answer to the model that its arguments were wrong."""

    class Paper(BaseModel):
        size: int

    def measure() -> int:
        return Paper(size="A4").size

    job = talk(asking(call("measure")), measure)

    assert (job.status, job.error["code"]) == ("failed", "ValidationError")


# -- never twice


def test_a_tool_that_was_called_is_not_called_again_and_not_told_again():
    gateway = asking(call("lookup", number="A-17"))

    job = talk(gateway, lookup, after=fail_once)

    assert (job.status, job.attempt, len(gateway.requests)) == ("succeeded", 2, 2)
    assert notes == [("lookup", "A-17", 3)]
    assert len(said(job, "tool.called")) == len(said(job, "tool.returned")) == 1


def dying_tool(repeat: str) -> JobPacket:
    """A job whose worker process dies inside of its tool, once."""

    def run(job):
        def pay(number: str) -> str:
            note(number)
            if len(notes) == 1:
                die(job)
            return "paid"

        return job.think(offering(Tool(pay, repeat=repeat)), asking(call("pay", number="A-17")))

    job = jobs.dispatch(worker_of(run), {"prompt": "A-17?"})
    bury(job)
    return jobs.get(job)


def test_a_bare_tool_that_a_crash_interrupted_parks_the_job():
    job = dying_tool("never")

    assert (job.status, notes) == ("suspended", ["A-17"])
    assert "turn-1/tool-0" in job.waiting_on["message"]


def test_a_safe_tool_that_a_crash_interrupted_is_called_again():
    job = dying_tool("safe")

    assert (job.status, job.result, notes) == ("succeeded", "done", ["A-17", "A-17"])


def test_the_usage_of_all_turns_is_added_up():
    gateway = script(
        on("A-17?").says(call("lookup", number="A-17"), Usage(input_tokens=10, output_tokens=1)),
        default=["done", Usage(input_tokens=20, output_tokens=2)],
    )

    job = talk(gateway, lookup, after=fail_once)

    assert (job.input_tokens, job.output_tokens) == (30, 3)
