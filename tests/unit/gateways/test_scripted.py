"""The scripted gateway answers what its script says, and fails on what it does not expect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_ais.backends.gateway.scripted import Ending, ScriptedGateway, Truncated, Wait, call, on, script
from django_ais.exceptions import ConfigurationError, GatewayError
from django_ais.gateways import (
    GatewayRequest,
    Message,
    PartDelta,
    RefusalPart,
    ThinkingPart,
    Timeouts,
    ToolSpec,
    Usage,
    fold,
)
from tests.unit.gateways.asking import CONTEXT, ask, listen, request, untimed

LOOK = ToolSpec(name="look")


def conversation(gateway: ScriptedGateway) -> tuple[GatewayRequest, str]:
    """The request after a first turn that asked for a tool, and the id of that call."""
    asked = request("weather in Rome?", tools=(LOOK,))
    answer = ask(gateway, asked)
    (tool_call,) = answer.tool_calls
    messages = (*asked.messages, answer.message, Message.tool(tool_call, "sunny, 30 degrees"))
    return asked.model_copy(update={"messages": messages}), tool_call.id


WEATHER = [
    {
        "text": "weather",
        "says": ["Let me look. ", {"type": "tool_call", "name": "look", "arguments": {"city": "Rome"}}],
    },
    {"tool_result": "sunny", "says": "It is sunny."},
    {"regex": r"^total\b", "says": {"total": 3}},
    {"model": "big", "says": "Big."},
]


@pytest.mark.parametrize(
    "gateway",
    [
        ScriptedGateway("from settings", {"script": WEATHER, "default": "No idea."}),
        script(
            on("weather").says("Let me look. ", call("look", city="Rome")),
            on(tool_result="sunny").says("It is sunny."),
            on(regex=r"^total\b").says({"total": 3}),
            on(model="big").says("Big."),
            default="No idea.",
        ),
    ],
    ids=["settings", "python"],
)
def test_the_same_script_in_settings_and_in_python(gateway: ScriptedGateway) -> None:
    """Fixtures match on what the user said, on a tool's result or on the model; the default answers the rest."""
    follow_up, _ = conversation(gateway)
    assert ask(gateway, follow_up).text == "It is sunny."
    assert ask(gateway, request("total of 1 and 2")).output == {"total": 3}
    assert ask(gateway, request("the total")).text == "No idea."
    assert ask(gateway, request("x", model="big")).text == "Big."


def test_text_is_matched_in_the_users_turn_alone() -> None:
    """After a tool's result the user's words are old: they do not ask for the same tool again."""
    gateway = script(on("weather").says(call("look")))
    follow_up, _ = conversation(gateway)
    with pytest.raises(GatewayError, match="tool result begins 'sunny, 30"):
        ask(gateway, follow_up)


def test_by_a_function() -> None:
    """A fixture may look at the whole request."""
    gateway = script(on(where=lambda asked: len(asked.tools) == 1).says("one tool"), default="other")
    assert ask(gateway, request(tools=(LOOK,))).text == "one tool"
    assert ask(gateway).text == "other"


def test_deterministic() -> None:
    """Two gateways of one script give equal chunks for equal requests."""
    first, second = (listen(ScriptedGateway("a", {"script": WEATHER}), request("weather"))[0] for _ in range(2))
    assert first[:-1] == second[:-1]
    assert untimed(fold(first)) == untimed(fold(second))


def test_execute_is_the_fold_of_stream() -> None:
    """Whole or in chunks: the same answer."""
    answer = (
        "Say ",
        ThinkingPart(text="hm hm"),
        call("look", n=1),
        Usage(input_tokens=4),
        Ending(finish="length", cost=9),
    )
    chunks, _ = listen(script(on().says(*answer)))
    response = ask(script(on().says(*answer)))
    assert untimed(response) == untimed(fold(chunks))
    assert (response.finish, response.cost, response.usage) == ("length", 9, Usage(input_tokens=4))


def test_streams_word_by_word() -> None:
    """Text comes in words, and every space arrives."""
    text = "  The quick\n\nbrown fox.  "
    chunks, _ = listen(ScriptedGateway.answering(text))
    deltas = [chunk.text for chunk in chunks if isinstance(chunk, PartDelta)]
    assert len(deltas) > 3
    assert "".join(deltas) == text


@pytest.mark.parametrize("answer", ["text", {"a": [1]}, call("look"), RefusalPart(text="no")])
def test_answering_every_call_alike(answer: Any) -> None:
    """One answer is given to every call."""
    gateway = ScriptedGateway.answering(answer)
    assert untimed(ask(gateway)) == untimed(ask(gateway))
    assert len(gateway.requests) == 2


def test_answering_in_sequence() -> None:
    """A list is given answer by answer, faults among them, and then nothing is expected any more."""
    gateway = ScriptedGateway.answering([GatewayError("busy", code="overloaded", retry_after=2), {"n": 1}, "last"])
    with pytest.raises(GatewayError) as caught:
        ask(gateway)
    assert (caught.value.code, caught.value.retry_after, str(caught.value)) == ("overloaded", 2, "busy")
    assert ask(gateway).output == {"n": 1}
    assert ask(gateway).text == "last"
    with pytest.raises(GatewayError) as caught:
        ask(gateway)
    assert caught.value.code == "not_found"


def test_a_structured_answer_may_have_a_type_of_its_own() -> None:
    """A dict is an event only if its ``type`` is one of the script's."""
    assert ask(ScriptedGateway.answering({"type": "invoice", "events": []})).output == {"type": "invoice", "events": []}


def test_an_unexpected_call_says_what_was_expected() -> None:
    """The message shows the prompt's head, and every fixture with its use; the safe one shows neither."""
    gateway = script(on("weather", times=1).says("x"), on(regex="^a").says("y"))
    ask(gateway, request("weather"))
    with pytest.raises(GatewayError) as caught:
        ask(gateway, request("the weather tomorrow " * 50))
    text = str(caught.value)
    assert "the weather tomorrow" in text
    assert len(text) < 600
    assert "text='weather', 1 time(s) (used 1)" in text
    assert "regex='^a' (used 0)" in text
    assert "weather" not in caught.value.safe_message
    assert not caught.value.retryable


def test_records_what_was_asked() -> None:
    """A test can look at every request, also at those that nobody expected."""
    gateway = script("once")
    ask(gateway, request("first"))
    listen(gateway, request("second"))
    assert [asked.last_user_text for asked in gateway.requests] == ["first", "second"]


def test_a_fault_in_mid_stream() -> None:
    """Text that came before a fault was streamed; the error says so."""
    chunks, error = listen(script(on().says("some words ", {"type": "fault", "code": "connection", "billed": "yes"})))
    assert isinstance(error, GatewayError)
    assert (error.code, error.in_stream, error.billed) == ("connection", True, "yes")
    assert any(isinstance(chunk, PartDelta) for chunk in chunks)


def test_a_truncated_stream() -> None:
    """A stream that ends without a finish is told as that."""
    _, error = listen(script(on().says("half", Truncated())))
    assert isinstance(error, GatewayError)
    assert error.code == "stream_truncated"


def test_latency() -> None:
    """An answer may wait: for a moment, for a test's own signal, or longer than the request's patience."""

    async def waits() -> list[str]:
        go = asyncio.Event()
        gateway = script(on().says("a ", Wait(seconds=0), Wait(until=go.wait), "b"))
        seen: list[str] = []
        async for chunk in gateway.stream(request(), CONTEXT):
            if isinstance(chunk, PartDelta):
                seen.append(chunk.text)
                go.set()
        return seen

    assert asyncio.run(waits()) == ["a ", "b"]
    slow = script(on().says("a", {"type": "wait", "seconds": 3600}))
    _, error = listen(slow, request(timeouts=Timeouts(idle=0.01)))
    assert isinstance(error, GatewayError)
    assert error.code == "timeout"


def test_refusals_and_thinking() -> None:
    """A refusal ends as one; thinking is the scripted provider's own."""
    assert ask(script(on().says(RefusalPart(text="I will not.")))).finish == "refusal"
    response = ask(script(on().says({"type": "thinking", "text": "two words", "signature": "s"}, "hi")))
    assert response.parts[0] == ThinkingPart(text="two words", signature="s", provider="scripted")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"scrpt": []}, "scrpt"),
        ({"script": [{"txt": "a", "says": "b"}]}, "txt"),
        ({"script": [{"text": "a", "says": {"type": "fault", "code": "nope"}}]}, "code"),
        ({"script": [{"regex": "(", "says": "b"}]}, "regex"),
        ({"default": 3}, "default"),
    ],
)
def test_a_wrong_script_is_named(options: dict[str, Any], field: str) -> None:
    """A mistake in a script is found when the gateway is built, and named by its place."""
    with pytest.raises(ConfigurationError, match=field):
        ScriptedGateway("mine", options)


def test_an_empty_script_expects_nothing() -> None:
    """Without options it exists, and says on the first call what is missing."""
    with pytest.raises(GatewayError, match="script: empty"):
        ask(ScriptedGateway())
