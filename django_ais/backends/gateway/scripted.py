"""A gateway that answers from a script: no key, no network, the same answers every time.

In settings::

    DJANGO_AIS = {"GATEWAYS": {"default": {"BACKEND": "scripted", "OPTIONS": {
        "script": [
            {"text": "weather", "says": [{"type": "tool_call", "name": "look", "arguments": {"city": "Rome"}}]},
            {"tool_result": "sunny", "says": "It is sunny."},
            {"regex": "^total", "says": {"total": 3}},
        ],
        "default": "I do not know.",
    }}}}

In a test::

    gateway = script(
        on("weather").says("Let me look. ", call("look", city="Rome")),
        on(tool_result="sunny").says("It is sunny."),
        on(model="gpt-9").says(GatewayError("gone", code="not_found")),
    )
    gateway = ScriptedGateway.answering([GatewayError("busy", code="overloaded"), "the second time it works"])

The first fixture that matches and is not used up answers. A call that none expects fails and says which there are.
Counts are kept per instance, so a sequence is not shared between worker processes.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, field_validator

from django_ais.exceptions import GatewayError
from django_ais.gateways import (
    BaseGateway,
    Finish,
    Finished,
    GatewayContext,
    GatewayRequest,
    MediaPart,
    Piece,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    Usage,
    UsageReported,
    Yielded,
)

WORDS = re.compile(r"\s*\S+\s*|\s+")
HEAD = 200
"""Characters of a prompt shown in an error."""


class Event(BaseModel):
    """Something that happens in an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Wait(Event):
    """Nothing comes for some ``seconds``, or, in Python, until ``until()`` returns."""

    type: Literal["wait"] = "wait"
    seconds: float = Field(default=0.0, ge=0)
    until: Callable[[], Awaitable[Any]] | None = None


class Fault(Event):
    """The call fails here; fields as in `GatewayError`."""

    type: Literal["fault"] = "fault"
    code: str
    message: str = "a fault of the script"
    retryable: bool | None = None
    retry_after: float | None = None
    billed: Literal["no", "maybe", "yes"] = "maybe"
    scope: Literal["call", "credential", "provider"] = "call"
    status: int | None = None
    safe_message: str | None = None

    @field_validator("code")
    @classmethod
    def _known(cls, code: str) -> str:
        if code not in GatewayError.RETRYABLE:
            raise ValueError(f"is none of: {', '.join(sorted(GatewayError.RETRYABLE))}")
        return code

    def error(self) -> GatewayError:
        """The error to raise."""
        return GatewayError(self.message, **self.model_dump(exclude={"type", "message"}))


class Output(Event):
    """The structured answer; streamed as JSON text too, as models do."""

    type: Literal["output"] = "output"
    value: JsonValue


class Truncated(Event):
    """The stream ends here without a word."""

    type: Literal["truncated"] = "truncated"


class Ending(Event):
    """How the answer ends, wherever this stands in it, and what it cost in micro-units."""

    type: Literal["finish"] = "finish"
    finish: Finish = "stop"
    cost: int | None = 0


Said = TextPart | ThinkingPart | ToolCallPart | MediaPart | RefusalPart | UsageReported
AnswerEvent = Said | Wait | Fault | Output | Truncated | Ending
EVENT_NAMES = frozenset(kind.model_fields["type"].default for kind in get_args(AnswerEvent))


def _event(value: Any) -> Any:
    """What a person writes for an event. A dict whose ``type`` is none of ours is a structured answer."""
    match value:
        case str():
            return {"type": "text", "text": value}
        case Usage():
            return UsageReported(usage=value)
        case GatewayError():
            fields = {name: getattr(value, name) for name in Fault.model_fields if hasattr(value, name)}
            return Fault(message=str(value), **fields)
        case Mapping():
            named = value.get("type")
            if not isinstance(named, str) or named not in EVENT_NAMES:
                return {"type": "output", "value": dict(value)}
            return {"id": "", **value} if named == "tool_call" else value
    return value


def _events(value: Any) -> Any:
    """What a person writes for an answer: one event, or a list of them."""
    return value if isinstance(value, list | tuple) else (value,)


Answer = Annotated[
    tuple[Annotated[AnswerEvent, Field(discriminator="type"), BeforeValidator(_event)], ...], BeforeValidator(_events)
]


class Fixture(Event):
    """Which requests to answer, and how. All conditions that are given must hold; none: any request.

    ``text`` (part of it) and ``regex`` look at what the user said last, and only in the turn that answers the user;
    ``tool_result`` (part of it) looks at the results that this turn has to answer. ``times`` None: as often as asked.
    """

    text: str | None = None
    regex: re.Pattern[str] | None = None
    tool_result: str | None = None
    model: str | None = None
    where: Callable[[GatewayRequest], bool] | None = None
    times: int | None = Field(default=None, ge=1)
    says: Answer

    def matches(self, request: GatewayRequest) -> bool:
        """Whether all conditions hold."""
        return all(self._verdicts(request))

    def _verdicts(self, request: GatewayRequest) -> Iterator[bool]:
        results = request.last_tool_results
        if self.text is not None or self.regex is not None:
            yield self.tool_result is not None or not results
        if self.text is not None:
            yield self.text in request.last_user_text
        if self.regex is not None:
            yield self.regex.search(request.last_user_text) is not None
        if self.tool_result is not None:
            yield any(self.tool_result in result.text for result in results)
        if self.model is not None:
            yield self.model == request.model
        if self.where is not None:
            yield bool(self.where(request))

    def __str__(self) -> str:
        named = ("text", "regex", "tool_result", "model", "where")
        given = {name: getattr(self, name) for name in named if getattr(self, name) is not None}
        shown = {name: value.pattern if isinstance(value, re.Pattern) else value for name, value in given.items()}
        conditions = ", ".join(f"{name}={value!r}" for name, value in shown.items()) or "any request"
        return conditions if self.times is None else f"{conditions}, {self.times} time(s)"


def _fixture(value: Any) -> Any:
    """An entry of a script: a fixture, or a bare answer that is given once."""
    if isinstance(value, Fixture) or (isinstance(value, Mapping) and "says" in value):
        return value
    return {"says": value, "times": 1}


AnyFixture = Annotated[Fixture, BeforeValidator(_fixture)]


@dataclass(frozen=True, slots=True, kw_only=True)
class On:
    """Conditions that wait for their answer; built by `on`."""

    conditions: Mapping[str, Any]

    def says(self, *events: Any) -> Fixture:
        """Answer with text, dict, `call`, `Usage`, `GatewayError`, `Wait`, `Truncated`, `Ending`, or any part."""
        return Fixture(**self.conditions, says=events)


def on(
    text: str | None = None,
    *,
    regex: str | re.Pattern[str] | None = None,
    tool_result: str | None = None,
    model: str | None = None,
    where: Callable[[GatewayRequest], bool] | None = None,
    times: int | None = None,
) -> On:
    """Begin a fixture; the conditions are those of `Fixture`."""
    given = {"text": text, "regex": regex, "tool_result": tool_result, "model": model, "where": where, "times": times}
    return On(conditions=given)


def call(name: str, /, **arguments: JsonValue) -> ToolCallPart:
    """A tool call for an answer; its id is made by the gateway."""
    return ToolCallPart(id="", name=name, arguments=arguments)


def script(*fixtures: Any, default: Any = None, alias: str = "default") -> ScriptedGateway:
    """Build a gateway from fixtures; a bare answer among them is given once."""
    return ScriptedGateway(alias, {"script": fixtures, "default": default})


class ScriptedGateway(BaseGateway):
    """Answers from ``OPTIONS["script"]``, else with ``OPTIONS["default"]``, else fails with ``not_found``.

    Safe to call from any thread and loop. ``requests`` holds what was asked, in order. Costs nothing unless an
    `Ending` says so; usage is estimated unless the answer reports it.
    """

    class Options(BaseModel):
        """``script``: fixtures, or bare answers given once each. ``default``: the answer to all else."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        script: tuple[AnyFixture, ...] = ()
        default: Answer | None = None

    supports_tools: ClassVar[bool] = True  # Can the model be offered tools, and be shown their results?
    supports_output_schema: ClassVar[bool] = True  # Does it take a JSON schema for its answer?
    supports_media: ClassVar[bool] = True  # Can messages hold images, sound, documents?
    supports_streaming: ClassVar[bool] = True  # Does an answer come in pieces, before it is whole?
    is_deterministic: ClassVar[bool] = True  # Does the same request get the same answer?
    calls_out: ClassVar[bool] = False  # Does it reach beyond this process?

    provider = "scripted"

    def __init__(self, alias: str = "default", options: Mapping[str, Any] | None = None) -> None:
        super().__init__(alias, options)
        self._lock = threading.Lock()
        self._fixtures: list[Fixture] = list(self.options.script)
        self._used: list[int] = [0] * len(self._fixtures)
        self._asked: list[GatewayRequest] = []

    @classmethod
    def answering(cls, answer: Any, *, alias: str = "default") -> Self:
        """Answer every call alike; a list gives its answers one by one, and then no more."""
        return cls(alias, {"script": answer} if isinstance(answer, list) else {"default": answer})

    @property
    def requests(self) -> tuple[GatewayRequest, ...]:
        """What was asked so far."""
        with self._lock:
            return tuple(self._asked)

    async def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
        events = self._take(request)
        for event in events:
            if isinstance(event, Truncated):
                return
            if isinstance(event, Wait):
                await (event.until() if event.until else asyncio.sleep(event.seconds))
            elif isinstance(event, Fault):
                raise event.error()
            else:
                for piece in _pieces(event):
                    yield piece
        yield _finished(events)

    def _take(self, request: GatewayRequest) -> tuple[AnswerEvent, ...]:
        with self._lock:
            self._asked.append(request)
            for number, fixture in enumerate(self._fixtures):
                if fixture.times is not None and self._used[number] >= fixture.times:
                    continue
                if fixture.matches(request):
                    self._used[number] += 1
                    return fixture.says
        if isinstance(self.options.default, tuple):
            return self.options.default
        raise self._unexpected(request)

    def _unexpected(self, request: GatewayRequest) -> GatewayError:
        results = request.last_tool_results
        kind, asked = ("tool result", results[-1].text) if results else ("prompt", request.last_user_text)
        known = "".join(
            f"\n  {number + 1}. {fixture} (used {self._used[number]})" for number, fixture in enumerate(self._fixtures)
        )
        return GatewayError(
            f"{self!r} expected no such call (number {len(self.requests)}): model {request.model!r}, the {kind} begins "
            f"{asked[:HEAD]!r}. Its script:{known or ' empty'}\n"
            "Add a fixture, or a 'default' for all other calls.",
            code="not_found",
            billed="no",
        )


def _finished(events: tuple[AnswerEvent, ...]) -> Finished:
    """The end of an answer; `Ending` decides, else what a model would say."""
    output = next((event.value for event in events if isinstance(event, Output)), None)
    refused = any(isinstance(event, RefusalPart) for event in events)
    ending = next((event for event in events if isinstance(event, Ending)), None)
    ending = ending or Ending(finish="refusal" if refused else "stop")
    return Finished(finish=ending.finish, output=output, cost=ending.cost)


def _pieces(event: Said | Output | Ending) -> Iterator[Yielded]:
    """An event in small pieces, split between words."""
    match event:
        case TextPart():
            yield from WORDS.findall(event.text)
        case ThinkingPart(provider=None):
            for word in WORDS.findall(event.text):
                yield Piece(kind="thinking", text=word)
            yield Piece(kind="thinking", signature=event.signature, done=True)
        case Output():
            yield from WORDS.findall(json.dumps(event.value, ensure_ascii=False))
        case Ending():
            return
        case _:
            yield event
