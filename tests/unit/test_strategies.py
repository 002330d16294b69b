"""What a strategy sends to a gateway, and what it takes back: functions of values."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="arg-type"

from __future__ import annotations

from uuid import uuid4

import pytest
from pydantic import BaseModel, ValidationError

from django_ais.exceptions import ConfigurationError, OutputInvalidError
from django_ais.gateways import Message
from django_ais.strategies import BaseStrategy, JobContext, Tool, first_request, fit, tools_of


class Total(BaseModel):
    amount: int
    currency: str = "EUR"


def context(payload=None, **fields) -> JobContext:
    return JobContext(id=uuid4(), type="invoice", payload=payload, **fields)


def composing(composed: dict[str, object], schema: type | None = None, tools=()) -> BaseStrategy:
    class Composing(BaseStrategy):
        def compose_context(self, job):
            return composed

        def get_output_schema(self):
            return schema

        def get_tools(self):
            return tools

    return Composing()


def lookup(number: str, limit: int = 3) -> str:
    """Find an invoice."""
    return f"{number}:{limit}"


def pay(number: str, *, call_key: str) -> str:
    return call_key


# -- the context


def test_a_context_is_frozen():
    job = context({"a": 1})

    with pytest.raises(ValidationError, match="frozen"):
        job.payload = None  # type: ignore[misc]


# -- the first request


def test_without_a_hook_the_payloads_prompt_is_sent():
    request = first_request(BaseStrategy(), context({"prompt": "Count to three."}))

    assert [(message.role, message.text) for message in request.messages] == [("user", "Count to three.")]


@pytest.mark.parametrize("payload", [None, "prompt", {"text": "x"}, {"prompt": 3}])
def test_a_payload_without_a_prompt_needs_a_hook_and_the_error_says_so(payload):
    with pytest.raises(ConfigurationError, match=r"BaseStrategy has no compose_context.*invoice.*'prompt'"):
        first_request(BaseStrategy(), context(payload))


def test_system_comes_first_and_the_prompt_last():
    strategy = composing({"prompt": "now", "messages": [Message.assistant("before")], "system": "be brief"})

    request = first_request(strategy, context())

    assert [(message.role, message.text) for message in request.messages] == [
        ("system", "be brief"), ("assistant", "before"), ("user", "now"),
    ]  # fmt: skip


def test_system_text_is_trusted_and_the_prompt_is_the_users():
    request = first_request(composing({"prompt": "now", "system": "be brief"}), context())

    assert [message.parts[0].trust for message in request.messages] == ["developer", "user"]


def test_model_and_settings_pass():
    request = first_request(composing({"prompt": "x", "model": "big", "settings": {"temperature": 0}}), context())

    assert (request.model, request.settings) == ("big", {"temperature": 0})


def test_an_unknown_key_is_an_error_that_names_it_and_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"returned 'promt'; it may return: messages, model, prompt, settings"):
        first_request(composing({"promt": "x"}), context())


def test_a_context_without_any_text_is_an_error():
    with pytest.raises(ConfigurationError, match="neither prompt nor messages"):
        first_request(composing({"model": "big"}), context())


def test_the_schema_is_asked_for():
    request = first_request(composing({"prompt": "x"}, Total), context())

    assert request.output is not None
    assert request.output.name == "Total"
    assert set(request.output.json_schema["properties"]) == {"amount", "currency"}


def test_two_requests_of_one_context_have_one_fingerprint():
    strategy, job = composing({"prompt": "x"}, Total, [lookup]), context()

    assert first_request(strategy, job).fingerprint() == first_request(strategy, job).fingerprint()


# -- tools


def test_a_bare_function_is_a_tool_that_is_never_repeated():
    tool = tools_of(composing({}, tools=[lookup]))["lookup"]

    assert (tool.repeat, tool.description) == ("never", "Find an invoice.")


def test_a_tool_is_described_by_its_annotations():
    parameters = Tool(lookup).spec().parameters

    assert set(parameters["properties"]) == {"number", "limit"}
    assert parameters["required"] == ["number"]
    assert parameters["additionalProperties"] is False


def test_the_call_key_is_filled_in_and_not_shown():
    tool = Tool(pay, repeat="keyed")

    assert set(tool.spec().parameters["properties"]) == {"number"}
    assert tool.call({"number": "A"}, call_key="job:turn-1/tool-0") == "job:turn-1/tool-0"


def test_arguments_are_converted_and_defaults_filled_in():
    assert Tool(lookup).call({"number": "A", "limit": "5"}, call_key="") == "A:5"
    assert Tool(lookup).call({"number": "A"}, call_key="") == "A:3"


@pytest.mark.parametrize("arguments", [{}, {"number": "A", "limit": "many"}, {"number": "A", "colour": 1}])
def test_arguments_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValidationError):
        Tool(lookup).call(arguments, call_key="")


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="two tools of the same name"):
        tools_of(composing({}, tools=[lookup, Tool(pay, name="lookup")]))


# -- answers


def test_without_a_schema_text_stays_text():
    assert fit('{"amount": 3}', None) == '{"amount": 3}'


@pytest.mark.parametrize("answer", ['{"amount": 3}', {"amount": 3}])
def test_an_answer_becomes_json_with_the_schemas_defaults(answer):
    assert fit(answer, Total) == {"amount": 3, "currency": "EUR"}


def test_any_type_that_pydantic_knows_may_be_a_schema():
    assert fit("[1, 2]", list[int]) == [1, 2]


@pytest.mark.parametrize("answer", ["I think it is 3.", '{"amount": "secret words"}', "[]", ""])
def test_an_answer_that_does_not_fit_is_refused_without_repeating_it(answer):
    with pytest.raises(OutputInvalidError, match="the answer does not fit Total") as caught:
        fit(answer, Total)

    assert "secret words" not in str(caught.value)
