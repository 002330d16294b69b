"""From what a driver yields, in whatever easy form, to a stream that keeps the rules. No I/O, no clock of its own.

One `Assembly` is one call. It numbers chunks, opens and closes parts, gives ids to tool calls that have none, and
fills in what a driver left out: the ``started`` chunk, the usage (estimated), the parsed output, the finish
``tool_calls``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from django_ais.exceptions import GatewayError
from django_ais.gateways.chunks import (
    Chunk,
    Failed,
    Finished,
    PartDelta,
    PartFinished,
    PartStarted,
    Started,
    UsageReported,
)
from django_ais.gateways.messages import (
    MediaPart,
    Part,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from django_ais.gateways.requests import GatewayRequest
from django_ais.gateways.responses import Usage, approximate_tokens, parse_json, storable

AnswerPart = TextPart | ThinkingPart | ToolCallPart | MediaPart | RefusalPart
Key = tuple[str, int | str]
SpokenKind = Literal["text", "thinking", "tool_call", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some of a part, as a driver reads it off the wire.

    Pieces of one ``kind`` and ``key`` belong to one part; ``key`` is the vendor's own index, so that parallel tool
    calls may interleave. ``text`` of a tool call is more of its arguments' JSON. ``id`` comes with the first piece of
    a part, ``name`` and ``signature`` with any; ``done`` says that the part is whole (all are, when the answer
    finishes).
    """

    kind: SpokenKind = "text"
    text: str = ""
    key: int | str = 0
    id: str | None = None
    name: str | None = None
    signature: str | None = None
    done: bool = False


Yielded = str | Piece | Part | Usage | Chunk
"""What `BaseGateway._stream` may yield."""

END: Any = object()
"""Taken by `Assembly` where a driver's stream is over."""


@dataclass(slots=True)
class OpenPart:
    """A part that is still growing."""

    number: int
    kind: SpokenKind
    id: str
    name: str
    signature: str | None = None
    texts: list[str] = field(default_factory=list)

    def content(self, provider: str | None) -> Part:
        text = "".join(self.texts)
        match self.kind:
            case "text":
                return TextPart(text=text, trust="tool")
            case "thinking":
                return ThinkingPart(text=text, signature=self.signature, provider=provider)
            case "refusal":
                return RefusalPart(text=text)
            case "tool_call":
                return tool_call(self.id, self.name, text)


def tool_call(call_id: str, name: str, text: str) -> ToolCallPart:
    """A tool call from its arguments as text; text that is no JSON object becomes ``malformed``."""
    try:
        arguments = parse_json(text) if text.strip() else {}
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        return ToolCallPart(id=call_id, name=name, malformed=text)
    return ToolCallPart(id=call_id, name=name, arguments=arguments)


class Assembly:
    """One call's stream, from a driver's pieces."""

    def __init__(self, request: GatewayRequest, *, call_key: str, provider: str | None, label: str) -> None:
        self.failure: Failed | None = None
        self.has_finished = False
        self.has_parts = False
        self._request = request
        self._call_key = call_key
        self._provider = provider
        self._label = label
        self._count = 0
        self._open: dict[Key, OpenPart] = {}
        self._talking: Key | None = None  # the part that a bare str goes on with
        self._whole_parts: dict[int, Part] = {}
        self._passing: set[int] = set()  # parts begun by chunks that a wrapper passes on
        self._next_part = 0
        self._call_ids: set[str] = set()
        self._usage: Usage | None = None

    def take(self, item: Yielded) -> Iterator[Chunk]:
        """The chunks that follow from what the driver yielded. Raises `GatewayError` where it broke the rules."""
        if self.failure is not None:
            raise self.failure.error()
        if item is END:
            raise self._truncated()
        if self._count == 0 and not isinstance(item, Started | Failed):
            yield self._number(Started(model=self._request.model, provider=self._provider))
        for chunk in self._translate(item):
            yield self._number(chunk)

    def fail(self, error: GatewayError) -> Chunk | None:
        """The terminal chunk of an error; None where the stream has its terminal chunk already."""
        if self.failure is not None or self.has_finished:
            return None
        return self._number(Failed.of(error))

    def _number(self, chunk: Chunk) -> Chunk:
        numbered = chunk.model_copy(update={"index": self._count})
        self._count += 1
        if isinstance(numbered, Failed):
            self.failure = numbered
        elif isinstance(numbered, Finished):
            self.has_finished = True
        return numbered

    def _translate(self, item: object) -> Iterator[Chunk]:
        match item:
            case str():
                return self._talk(item) if item else iter(())
            case Piece():
                return self._piece(item)
            case TextPart() | ThinkingPart() | ToolCallPart() | MediaPart() | RefusalPart():
                return self._whole(item)
            case Usage():
                return self._pass_on(UsageReported(usage=item))
            case Finished():
                return self._finish(item)
            case Started() | PartStarted() | PartDelta() | PartFinished() | UsageReported() | Failed():
                return self._pass_on(item)
        raise self._misuse(f"yielded a {type(item).__name__}; it may yield text, Piece, a part, Usage or a chunk")

    def _talk(self, text: str) -> Iterator[Chunk]:
        """Text goes on with the part it was in, until another part begins."""
        if self._talking is None:
            talking: Key = ("text", f"text-{self._next_part}")
            yield from self._piece(Piece(text=text, key=talking[1]))
            self._talking = talking
        else:
            yield from self._piece(Piece(text=text, key=self._talking[1]))

    def _hush(self) -> Iterator[Chunk]:
        if self._talking is not None:
            yield self._close(self._talking)
            self._talking = None

    def _piece(self, piece: Piece) -> Iterator[Chunk]:
        part = self._open.get((piece.kind, piece.key))
        if part is None:
            yield from self._hush()
            part = self._begin(piece)
            call_id, name = (part.id, part.name or None) if part.kind == "tool_call" else (None, None)
            yield PartStarted(part=part.number, kind=part.kind, id=call_id, name=name)
        part.name = piece.name or part.name
        part.signature = piece.signature or part.signature
        if text := storable(piece.text):
            part.texts.append(text)
            yield PartDelta(part=part.number, kind=part.kind, text=text)
        if piece.done:
            yield self._close((piece.kind, piece.key))

    def _begin(self, piece: Piece) -> OpenPart:
        number = self._next_number()
        call_id = self._call_id(piece.id, number) if piece.kind == "tool_call" else ""
        part = OpenPart(number=number, kind=piece.kind, id=call_id, name=piece.name or "")
        self._open[(piece.kind, piece.key)] = part
        return part

    def _close(self, key: Key) -> PartFinished:
        part = self._open.pop(key)
        content = part.content(self._provider)
        self._whole_parts[part.number] = content
        return PartFinished(part=part.number, content=content)

    def _next_number(self) -> int:
        self.has_parts = True
        self._next_part += 1
        return self._next_part - 1

    def _call_id(self, given: str | None, number: int) -> str:
        """The vendor's id, or one that is the same whenever this call is repeated."""
        if not given or given in self._call_ids:
            given = "call_" + hashlib.sha256(f"{self._call_key}/{number}".encode()).hexdigest()[:24]
        self._call_ids.add(given)
        return given

    def _whole(self, part: AnswerPart) -> Iterator[Chunk]:
        yield from self._hush()
        number = self._next_number()
        if isinstance(part, ToolCallPart):
            part = part.model_copy(update={"id": self._call_id(part.id, number)})
            yield PartStarted(part=number, kind=part.type, id=part.id, name=part.name)
        else:
            yield PartStarted(part=number, kind=part.type)
        if not isinstance(part, ToolCallPart | MediaPart):
            part = part.model_copy(update={"text": storable(part.text)})
        if text := text_of(part):
            yield PartDelta(part=number, kind=part.type, text=text)
        self._whole_parts[number] = part
        yield PartFinished(part=number, content=part)

    def _pass_on(self, chunk: Chunk) -> Iterator[Chunk]:
        """What a wrapper hands through, or a driver that speaks in chunks."""
        match chunk:
            case Started():
                if self._count:
                    raise self._misuse("yielded 'started' after another chunk")
                chunk = chunk.model_copy(update={"provider": chunk.provider or self._provider})
            case PartStarted():
                self._passing.add(chunk.part)
                self._next_part = max(self._next_part, chunk.part + 1)
                self.has_parts = True
            case PartFinished():
                self._passing.discard(chunk.part)
                self._whole_parts[chunk.part] = chunk.content
            case UsageReported():
                self._usage = chunk.usage
        yield chunk

    def _finish(self, finished: Finished) -> Iterator[Chunk]:
        for key in sorted(self._open, key=lambda key: self._open[key].number):
            yield self._close(key)
        if self._passing:
            raise self._misuse(f"finished while parts {sorted(self._passing)} were open")
        parts = [self._whole_parts[number] for number in sorted(self._whole_parts)]
        if self._usage is None:
            yield UsageReported(usage=estimated_usage(self._request, parts, finished.output))
        update: dict[str, Any] = {}
        if finished.finish == "stop" and any(isinstance(part, ToolCallPart) for part in parts):
            update["finish"] = "tool_calls"
        elif finished.finish == "stop" and finished.output is None and self._request.output is not None:
            update["output"] = _output(parts)
        yield finished.model_copy(update=update)

    def _truncated(self) -> GatewayError:
        return GatewayError(
            f"{self._label} ended its stream without saying that the answer is finished",
            code="stream_truncated",
            billed="yes" if self.has_parts else "maybe",
        )

    def _misuse(self, what: str) -> GatewayError:
        return GatewayError(f"{self._label} {what}", code="invalid_request")


def text_of(part: Part) -> str:
    """What a part says, in characters: text, or the JSON of a tool call's arguments."""
    match part:
        case ToolCallPart():
            return json.dumps(part.arguments, ensure_ascii=False) if part.malformed is None else part.malformed
        case MediaPart():
            return ""
    return part.text


def estimated_usage(request: GatewayRequest, parts: Iterable[Part], output: Any) -> Usage:
    """About what a call used, where nobody said: never zero for words that went either way."""
    asked = " ".join(text_of(part) for message in request.messages for part in message.parts)
    answered = " ".join(text_of(part) for part in parts)
    if not answered and output is not None:
        answered = json.dumps(output, ensure_ascii=False)
    return Usage(input_tokens=approximate_tokens(asked), output_tokens=approximate_tokens(answered), estimated=True)


def _output(parts: Iterable[Part]) -> Any:
    """The JSON in an answer's text, or None: the worker then decides what to make of the text."""
    try:
        return parse_json("".join(part.text for part in parts if isinstance(part, TextPart)))
    except ValueError:
        return None
