"""Chunks survive JSON, and a stream of them folds into a response or says what is wrong with it."""

from __future__ import annotations

import json

import pytest

from django_ais.exceptions import GatewayError
from django_ais.gateways import (
    Chunk,
    Failed,
    Finished,
    PartDelta,
    PartFinished,
    PartStarted,
    Started,
    TextPart,
    Usage,
    UsageReported,
    fold,
    parse_chunk,
)

TEXT = TextPart(text="hi", trust="tool")
STREAM: list[Chunk] = [
    Started(index=0, model="asked", provider="acme", response_id="r"),
    PartStarted(index=1, part=0, kind="text"),
    PartDelta(index=2, part=0, kind="text", text="hi"),
    UsageReported(index=3, usage=Usage(input_tokens=5)),
    PartFinished(index=4, part=0, content=TEXT),
    UsageReported(index=5, usage=Usage(input_tokens=5, output_tokens=1)),
    Finished(index=6, finish="length", output={"a": None}, cost=7, model="answered"),
]
FAILURE = Failed(index=0, code="rate_limited", retryable=True, retry_after=2.5, scope="credential", status=429)


@pytest.mark.parametrize("chunk", [*STREAM, FAILURE], ids=lambda chunk: str(chunk.type))
def test_round_trip(chunk: Chunk) -> None:
    """Every chunk comes back equal from JSON text and from parsed JSON, with its own type."""
    assert parse_chunk(chunk.model_dump_json()) == chunk
    assert parse_chunk(json.loads(json.dumps(chunk.model_dump(mode="json")))) == chunk


def test_fold() -> None:
    """The last usage counts, not the sum; what the end knows better than the start wins."""
    response = fold(STREAM)
    assert response.parts == (TEXT,)
    assert response.usage == Usage(input_tokens=5, output_tokens=1)
    assert (response.finish, response.output, response.cost) == ("length", {"a": None}, 7)
    assert (response.model, response.provider, response.response_id) == ("answered", "acme", "r")


@pytest.mark.parametrize(
    "broken",
    [[], STREAM[:-1], [*STREAM[:2], *STREAM[3:]], [*STREAM, Finished(index=7)], STREAM[1:]],
    ids=["empty", "no end", "a hole", "two ends", "no beginning"],
)
def test_fold_of_a_broken_stream(broken: list[Chunk]) -> None:
    """A stream with a hole, or without exactly one end, is an error and never a shorter answer."""
    with pytest.raises(GatewayError) as caught:
        fold(broken)
    assert caught.value.code == "stream_truncated"


def test_fold_of_a_failure() -> None:
    """A stored failure raises the error that it tells of."""
    with pytest.raises(GatewayError) as caught:
        fold([FAILURE])
    error = caught.value
    assert (error.code, error.retry_after, error.scope, error.status) == ("rate_limited", 2.5, "credential", 429)


def test_a_failure_holds_no_message() -> None:
    """What is stored and shown of an error is its code and safe message: the message may hold a prompt."""
    error = GatewayError("prompt was: my secret", code="invalid_request", safe_message="refused", in_stream=True)
    chunk = Failed.of(error)
    assert "secret" not in chunk.model_dump_json()
    assert (chunk.safe_message, chunk.in_stream) == ("refused", True)
