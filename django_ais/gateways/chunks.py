"""What a gateway yields while it answers: chunks, numbered from 0 without a hole, exactly one terminal one at the end.

``started``, then for each part ``part_started``, its ``part_delta``s, ``part_finished``; ``usage`` is cumulative, so
the last one counts; ``finished`` or ``failed`` ends it. The deltas of a part, joined, are the text of the finished
part (of a tool call: the JSON of its arguments as the model wrote it). Parts may interleave; ``part`` tells them
apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, TypeAdapter

from django_ais.exceptions import GatewayError
from django_ais.gateways.messages import Part, PartKind, Value
from django_ais.gateways.responses import Finish, GatewayResponse, Timings, Usage


class Numbered(Value):
    """``index`` is the chunk's number in its stream; `BaseGateway` sets it."""

    index: int = 0


class Started(Numbered):
    """The gateway began to answer."""

    type: Literal["started"] = "started"
    model: str | None = None
    provider: str | None = None
    response_id: str | None = None


class PartStarted(Numbered):
    """A part begins; ``id`` and ``name`` are a tool call's."""

    type: Literal["part_started"] = "part_started"
    part: int
    kind: PartKind
    id: str | None = None
    name: str | None = None


class PartDelta(Numbered):
    """More of a part."""

    type: Literal["part_delta"] = "part_delta"
    part: int
    kind: PartKind
    text: str


class PartFinished(Numbered):
    """A part is whole."""

    type: Literal["part_finished"] = "part_finished"
    part: int
    content: Part


class UsageReported(Numbered):
    """What the call used so far, not since the last report."""

    type: Literal["usage"] = "usage"
    usage: Usage


class Finished(Numbered):
    """The answer is whole. ``model`` and ``response_id`` are given only where ``started`` did not know them."""

    type: Literal["finished"] = "finished"
    finish: Finish = "stop"
    output: JsonValue = None
    cost: int | None = None
    model: str | None = None
    response_id: str | None = None
    timings: Timings | None = None


class Failed(Numbered):
    """The call failed. Holds what may be stored and shown; the error itself, with its message, is raised next."""

    type: Literal["failed"] = "failed"
    code: str
    retryable: bool
    retry_after: float | None = None
    billed: Literal["no", "maybe", "yes"] = "maybe"
    scope: Literal["call", "credential", "provider"] = "call"
    in_stream: bool = False
    status: int | None = None
    safe_message: str = ""

    @classmethod
    def of(cls, error: GatewayError) -> Failed:
        """The chunk of an error, without its message."""
        names = [name for name in cls.model_fields if name not in ("index", "type")]
        return cls(**{name: getattr(error, name) for name in names})

    def error(self) -> GatewayError:
        """The error that this chunk tells of."""
        details = self.model_dump(exclude={"index", "type"})
        return GatewayError(f"the gateway call failed: {self.safe_message or self.code}", **details)


Chunk = Annotated[
    Started | PartStarted | PartDelta | PartFinished | UsageReported | Finished | Failed, Field(discriminator="type")
]

_adapter: TypeAdapter[Chunk] = TypeAdapter(Chunk)


def parse_chunk(data: str | bytes | Mapping[str, Any]) -> Chunk:
    """The chunk in JSON text or in its parsed form. Raises Pydantic's ValidationError."""
    return _adapter.validate_json(data) if isinstance(data, str | bytes) else _adapter.validate_python(data)


def fold(chunks: Iterable[Chunk]) -> GatewayResponse:
    """The response that a whole stream amounts to.

    Raises the `GatewayError` that a ``failed`` chunk tells of, and ``stream_truncated`` where a number is missing or
    nothing ends the stream.
    """
    folding = Folding()
    for chunk in chunks:
        folding.add(chunk)
    return folding.response()


class Folding:
    """`fold`, one chunk at a time; deltas are let go of at once."""

    def __init__(self) -> None:
        self._next = 0
        self._started = Started()
        self._parts: dict[int, Part] = {}
        self._usage = Usage()
        self._finished: Finished | None = None

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk. Raises `GatewayError`: see `fold`."""
        if chunk.index != self._next or self._finished:
            raise _broken(f"chunk {self._next} was expected and chunk {chunk.index} ('{chunk.type}') came")
        self._next += 1
        match chunk:
            case Started():
                self._started = chunk
            case PartFinished():
                self._parts[chunk.part] = chunk.content
            case UsageReported():
                self._usage = chunk.usage
            case Finished():
                self._finished = chunk
            case Failed():
                raise chunk.error()
            case _:
                pass

    def response(self) -> GatewayResponse:
        """The response, once a ``finished`` chunk was added. Raises ``stream_truncated`` before."""
        if self._finished is None:
            raise _broken(f"the stream ended after {self._next} chunks without a finish")
        return GatewayResponse(
            parts=tuple(self._parts[number] for number in sorted(self._parts)),
            finish=self._finished.finish,
            output=self._finished.output,
            usage=self._usage,
            cost=self._finished.cost,
            model=self._finished.model or self._started.model,
            provider=self._started.provider,
            response_id=self._finished.response_id or self._started.response_id,
            timings=self._finished.timings or Timings(),
        )


def _broken(message: str) -> GatewayError:
    return GatewayError(message, code="stream_truncated", billed="maybe", in_stream=True)
