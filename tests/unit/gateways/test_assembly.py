"""Whatever a driver yields, what a reader gets is numbered, whole, and has exactly one end."""

from __future__ import annotations

from typing import Any

import pytest

from django_ais.exceptions import GatewayError
from django_ais.gateways import (
    Finished,
    GatewayContext,
    GatewayResponse,
    OutputSpec,
    PartDelta,
    PartFinished,
    PartStarted,
    Piece,
    Started,
    ToolCallPart,
    Usage,
    UsageReported,
    fold,
)
from tests.unit.gateways.asking import CALL, STREAMS, Yielding, ask, listen, request, untimed


@pytest.mark.parametrize("items", STREAMS.values(), ids=STREAMS)
def test_every_stream_keeps_the_rules(items: tuple[Any, ...]) -> None:
    """Numbers from 0 without a hole, one start, one end, and the deltas of a part joined are the part."""
    chunks, error = listen(Yielding(*items))
    assert error is None
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.type for chunk in chunks].count("started") == 1 == [c.type for c in chunks].count("finished")
    assert (chunks[0].type, chunks[-1].type) == ("started", "finished")
    for finished in (chunk for chunk in chunks if isinstance(chunk, PartFinished)):
        deltas = [c.text for c in chunks if isinstance(c, PartDelta) and c.part == finished.part]
        assert "".join(deltas) == said(finished.content)
        assert sum(isinstance(c, PartStarted) and c.part == finished.part for c in chunks) == 1


def said(part: Any) -> str:
    if isinstance(part, ToolCallPart):
        return {"look": '{"city": "Rome"}', "ask": '{"who": "Ada"}'}[part.name]
    return getattr(part, "text", "")


@pytest.mark.parametrize("items", STREAMS.values(), ids=STREAMS)
def test_execute_is_the_fold_of_stream(items: tuple[Any, ...]) -> None:
    """Asked as a whole or in chunks, the answer is the same."""
    chunks, _ = listen(Yielding(*items))
    assert untimed(ask(Yielding(*items))) == untimed(fold(chunks))


def test_parallel_calls_do_not_mix() -> None:
    """Pieces of two tool calls may interleave; each has its own arguments, in the order in which they began."""
    first, second = ask(Yielding(*STREAMS["interleaved calls"])).tool_calls
    assert (first.id, first.arguments) == ("a", {"city": "Rome"})
    assert second.arguments == {"who": "Ada"}


def test_parts_keep_the_order_in_which_they_began() -> None:
    """Bare text is whole when something else begins; what ends first does not come first."""
    chunks, _ = listen(Yielding("before ", CALL, "after"))
    assert [(c.part, c.type) for c in chunks if isinstance(c, PartStarted | PartFinished)] == [
        (part, kind) for part in range(3) for kind in ("part_started", "part_finished")
    ]
    around_a_piece = ask(Yielding("before", Piece(kind="tool_call", name="look"), "after"))
    assert [part.type for part in around_a_piece.parts] == ["text", "tool_call", "text"]
    second_ends_first = (Piece(kind="thinking", text="a"), Piece(text="b", done=True), Piece(kind="thinking", text="c"))
    assert [part.type for part in ask(Yielding(*second_ends_first)).parts] == ["thinking", "text"]


def test_a_missing_id_is_made_and_stable() -> None:
    """A tool call without an id, or with one used before, gets one: the same on a repetition, another elsewhere."""
    nameless = (ToolCallPart(id="", name="look"), ToolCallPart(id="", name="look"), CALL, CALL)
    ids = [call.id for call in ask(Yielding(*nameless)).tool_calls]
    assert len(set(ids)) == 4
    assert ids == [call.id for call in ask(Yielding(*nameless)).tool_calls]
    elsewhere = ask(Yielding(*nameless), context=GatewayContext(call_key="job:2"))
    assert not set(ids[:2]) & {call.id for call in elsewhere.tool_calls}


@pytest.mark.parametrize("text", ['{"city": ', "[1]", "NaN", '{"x": 1e999}', "[" * 100_000])
def test_arguments_that_are_no_object_are_data(text: str) -> None:
    """What a model wrote instead of arguments is kept for an answer to it, and is no exception."""
    (call,) = ask(Yielding(Piece(kind="tool_call", name="look", text=text))).tool_calls
    assert (call.arguments, call.malformed) == ({}, text)


def test_a_call_without_arguments() -> None:
    """No arguments at all are an empty object."""
    (call,) = ask(Yielding(Piece(kind="tool_call", name="look"))).tool_calls
    assert (call.arguments, call.malformed) == ({}, None)


def test_half_a_character() -> None:
    """A lone surrogate becomes U+FFFD in text and in arguments, so that every answer can be encoded and stored."""
    response = ask(Yielding("a\ud83db", Piece(kind="tool_call", name="look", text='{"x": "\\ud83d"}'), "😀"))
    assert response.text == "a\ufffdb😀"
    assert response.tool_calls[0].arguments == {"x": "\ufffd"}
    assert GatewayResponse.model_validate_json(response.model_dump_json()) == response


def test_finish_says_tool_calls() -> None:
    """Some servers say ``stop`` when they ask for a tool: the base knows better."""
    assert ask(Yielding(CALL)).finish == "tool_calls"
    assert ask(Yielding(CALL, Finished(finish="length"), ends=False)).finish == "length"


def test_output_is_read_from_text_where_a_schema_was_asked_for() -> None:
    """JSON in the text becomes ``output``; text that is none leaves it empty, for the worker to judge."""
    asked = request(output=OutputSpec(schema={}))
    assert ask(Yielding('{"a"', ": 1}"), asked).output == {"a": 1}
    assert ask(Yielding("sorry"), asked).output is None
    assert ask(Yielding("1")).output is None
    assert ask(Yielding("1", Finished(finish="length"), ends=False), asked).output is None


def test_usage_that_nobody_reported_is_estimated() -> None:
    """Usage is never zero for words that went either way, and says that it is a guess."""
    usage = ask(Yielding("four words for you"), request("two words")).usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (2, 4, True)
    reported = ask(Yielding("hi", Usage(input_tokens=9))).usage
    assert (reported.input_tokens, reported.estimated) == (9, False)
    assert ask(Yielding("你好世界你好世界")).usage.output_tokens >= 6


@pytest.mark.parametrize("items", [(), ("half an ans",), (Usage(input_tokens=1),)], ids=["silence", "text", "usage"])
def test_a_stream_that_just_ends(items: tuple[Any, ...]) -> None:
    """An end without a finish is an error, however much came before; the stream still has its one terminal chunk."""
    chunks, error = listen(Yielding(*items, ends=False))
    assert isinstance(error, GatewayError)
    assert (error.code, error.retryable) == ("stream_truncated", True)
    assert error.in_stream is ("half an ans" in items)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.type for chunk in chunks if chunk.type in ("finished", "failed")] == ["failed"]
    assert chunks[-1].type == "failed"


def test_nothing_after_the_end() -> None:
    """What a driver yields after ``Finished`` is not read, and the driver is closed."""
    gateway = Yielding("a", Finished(), "b", Finished(), ends=False)
    chunks, error = listen(gateway)
    assert error is None
    assert [chunk.type for chunk in chunks].count("finished") == 1
    assert gateway.closed == 1


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ((42,), "yielded a int"),
        (("a", Started()), "after another chunk"),
        ((PartStarted(part=0, kind="text"),), "open"),
    ],
)
def test_a_driver_that_breaks_the_rules(items: tuple[Any, ...], words: str) -> None:
    """A driver's own mistake is named, and not retried."""
    _, error = listen(Yielding(*items))
    assert isinstance(error, GatewayError)
    assert (error.code, error.retryable) == ("invalid_request", False)
    assert words in str(error)


def test_usage_arrives_as_it_is_reported() -> None:
    """A reader sees what a call used so far, also if it fails later: that is charged."""
    chunks, _ = listen(Yielding(Usage(input_tokens=5), "hi", OSError()))
    assert [chunk.usage.input_tokens for chunk in chunks if isinstance(chunk, UsageReported)] == [5]
