"""What came back: parts, usage, cost. Values only, JSON round trip, no Django."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, JsonValue

from django_ais.gateways.messages import Message, Part, TextPart, ToolCallPart, Value

Finish = Literal["stop", "tool_calls", "length", "content_filter", "refusal", "cancelled", "unknown"]


class Usage(Value):
    """Tokens of one call, or of several added up.

    ``input_tokens`` includes those read from and written to a cache, ``output_tokens`` includes reasoning.
    ``estimated`` marks a number that no provider reported; it stays on every sum that such a number went into.
    """

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cache_read_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
        )

    @property
    def total_tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens


class UsageBound(Value):
    """What a call can use at most. None: no bound can be computed, so a hard budget has to refuse the call."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class Timings(Value):
    """Seconds since the call began, by a monotonic clock. They differ between two calls that are otherwise equal."""

    first_event: float = 0.0
    total: float = 0.0


class GatewayResponse(Value):
    """The answer of one call.

    ``output`` is the JSON of a structured answer, parsed and not validated. ``cost`` is in micro-units (a millionth
    of the currency's unit); None means that nobody knows the price, 0 that there is none.
    """

    parts: tuple[Part, ...] = ()
    finish: Finish = "stop"
    output: JsonValue = None
    usage: Usage = Field(default_factory=Usage)
    cost: int | None = None
    model: str | None = None
    provider: str | None = None
    response_id: str | None = None
    timings: Timings = Field(default_factory=Timings)

    @property
    def text(self) -> str:
        """All text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tools that the model asks for, in the order of its answer."""
        return tuple(part for part in self.parts if isinstance(part, ToolCallPart))

    @property
    def message(self) -> Message:
        """The answer as the conversation's next message."""
        return Message(role="assistant", parts=self.parts)


def storable(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD: halves of a character cannot be encoded or stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def parse_json(text: str) -> Any:
    """The JSON value in a model's text. Raises ValueError for anything else, also for NaN and infinity."""
    try:
        value = json.loads(text)
        spelled = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    clean = storable(spelled)
    return value if clean == spelled else json.loads(clean)


def approximate_tokens(text: str) -> int:
    """About how many tokens a text has: its words, or a quarter of its bytes where a language writes no spaces."""
    return max(len(text.split()), len(text.encode("utf-8", "replace")) // 4)
