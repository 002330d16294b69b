"""The vocabulary of events: what a run may say about itself. Pure: no Django.

Each type is a Pydantic model whose fields are the event's ``data``; the type's name is its ``type`` field. Names are
never changed once released, fields only added; `SCHEMA_VERSION` counts what a reader must know. An application's own
events are called ``x.<app>.<name>`` and carry any JSON object (`CustomEvent`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_jsonable_python

SCHEMA_VERSION = 1
CUSTOM_NAME = re.compile(r"x\.[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


class Event(BaseModel):
    """The base of all event types. ``type`` is a constant of the class, the other fields are the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    example: ClassVar[Mapping[str, Any]] = {}

    def data(self) -> dict[str, Any]:
        """The fields as JSON values, without the type and without what is not set."""
        return self.model_dump(mode="json", exclude={"type"}, exclude_none=True)


class JobQueued(Event):
    type: Literal["job.queued"] = "job.queued"
    job_type: str
    queue: str = "default"
    parent: UUID | None = None
    workflow_job: str | None = None
    item: int | None = None
    example = {"job_type": "SUMMARIZE", "queue": "default", "workflow_job": "summarise", "item": 3}


class JobStarted(Event):
    type: Literal["job.started"] = "job.started"
    attempt: int
    example = {"attempt": 1}


class JobProgress(Event):
    type: Literal["job.progress"] = "job.progress"
    current: float | None = None
    total: float | None = None
    message: str | None = None
    example = {"current": 3, "total": 12, "message": "page 3"}


class JobRetried(Event):
    type: Literal["job.retried"] = "job.retried"
    attempt: int
    code: str
    message: str
    delay: float
    retry: int
    max_retries: int
    example = {"attempt": 1, "code": "rate_limited", "message": "try later", "delay": 1.6, "retry": 1, "max_retries": 2}


class JobSuspended(Event):
    type: Literal["job.suspended"] = "job.suspended"
    reason: str
    children: int | None = None
    example = {"reason": "children", "children": 12}


class JobResumed(Event):
    type: Literal["job.resumed"] = "job.resumed"
    reason: str
    example = {"reason": "children"}


class JobSucceeded(Event):
    type: Literal["job.succeeded"] = "job.succeeded"
    reused: bool | None = None
    example: ClassVar[Mapping[str, Any]] = {}


class JobFailed(Event):
    type: Literal["job.failed"] = "job.failed"
    code: str
    message: str
    example = {"code": "output_invalid", "message": "the answer does not fit SummaryOutput"}


class JobCancelled(Event):
    type: Literal["job.cancelled"] = "job.cancelled"
    reason: str | None = None
    example = {"reason": "asked by a person"}


class JobSkipped(Event):
    type: Literal["job.skipped"] = "job.skipped"
    job_type: str
    workflow_job: str
    reason: str
    example = {"job_type": "REVIEW", "workflow_job": "review", "reason": "its condition is false"}


class MessageStarted(Event):
    type: Literal["message.started"] = "message.started"
    message: str
    role: str = "assistant"
    example = {"message": "turn-1", "role": "assistant"}


class MessageDelta(Event):
    type: Literal["message.delta"] = "message.delta"
    message: str
    text: str
    example = {"message": "turn-1", "text": "The invoice "}


class MessageCompleted(Event):
    type: Literal["message.completed"] = "message.completed"
    message: str
    finish: str = "stop"
    example = {"message": "turn-1", "finish": "stop"}


class ThoughtDelta(Event):
    type: Literal["thought.delta"] = "thought.delta"
    message: str
    text: str
    example = {"message": "turn-1", "text": "The totals differ, so "}


class LogWritten(Event):
    type: Literal["log.written"] = "log.written"
    level: Literal["debug", "info", "warning", "error"] = "info"
    message: str
    fields: dict[str, Any] | None = None
    example = {"level": "info", "message": "12 pages", "fields": {"pages": 12}}


class ToolCalled(Event):
    type: Literal["tool.called"] = "tool.called"
    call: str
    name: str
    arguments: dict[str, Any]
    example = {"call": "turn-1/0", "name": "lookup", "arguments": {"number": "A-17"}}


class ToolReturned(Event):
    type: Literal["tool.returned"] = "tool.returned"
    call: str
    name: str
    content: Any = None
    example = {"call": "turn-1/0", "name": "lookup", "content": {"total": 12}}


class ToolFailed(Event):
    type: Literal["tool.failed"] = "tool.failed"
    call: str
    name: str
    code: str
    message: str
    example = {"call": "turn-1/0", "name": "lookup", "code": "KeyError", "message": "no invoice A-17"}


class UsageRecorded(Event):
    type: Literal["usage.recorded"] = "usage.recorded"
    step: str
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int | None = None
    estimated: bool | None = None
    example = {"step": "turn-1", "model": "small", "input_tokens": 812, "output_tokens": 64, "cost": 131}


class ApprovalRequested(Event):
    type: Literal["approval.requested"] = "approval.requested"
    approval: str
    title: str
    example = {"approval": "review", "title": "Check invoice A-17"}


class ApprovalGranted(Event):
    type: Literal["approval.granted"] = "approval.granted"
    approval: str
    user: str | None = None
    example = {"approval": "review", "user": "17"}


class ApprovalDenied(Event):
    type: Literal["approval.denied"] = "approval.denied"
    approval: str
    user: str | None = None
    example = {"approval": "review", "user": "17"}


class RunStarted(Event):
    """A workflow's root began; it takes the place of the root's ``job.started``."""

    type: Literal["run.started"] = "run.started"
    workflow: str
    version: str
    example = {"workflow": "document-intake", "version": "2.1.0"}


class RunSucceeded(Event):
    """A workflow's root ended well; it takes the place of the root's ``job.succeeded``."""

    type: Literal["run.succeeded"] = "run.succeeded"
    example: ClassVar[Mapping[str, Any]] = {}


class RunFailed(Event):
    type: Literal["run.failed"] = "run.failed"
    code: str
    message: str
    example = {"code": "children_failed", "message": "workflow job 'extract' failed"}


class RunCancelled(Event):
    type: Literal["run.cancelled"] = "run.cancelled"
    reason: str | None = None
    example = {"reason": "asked by a person"}


class CustomEvent(Event):
    """An application's own event. The data is one JSON object."""

    model_config = ConfigDict(frozen=True, extra="allow")
    example = {"invoice": "A-17"}

    def data(self) -> dict[str, Any]:
        """Everything that the application gave, nulls included."""
        return self.model_dump(mode="json", exclude={"type"})


VOCABULARY: dict[str, type[Event]] = {
    kind.model_fields["type"].default: kind for kind in Event.__subclasses__() if kind is not CustomEvent
}
TERMINAL_TYPES = frozenset(
    f"{noun}.{verb}" for noun in ("job", "run") for verb in ("succeeded", "failed", "cancelled")
) | {"job.skipped"}
DELTA_TYPES = frozenset({"message.delta", "thought.delta"})
RUNTIME_TYPES = frozenset(type for type in VOCABULARY if type.startswith(("job.", "run.", "approval."))) - {
    "job.progress"
}  # what changes of status tell: saying one of these must mean that it happened


def build(type: str, data: Mapping[str, Any]) -> Event:
    """Make the event of that type from its data. Raises ValueError saying which field is wrong."""
    if CUSTOM_NAME.fullmatch(type):
        return CustomEvent(**_plain(type, data), type=type)
    kind = VOCABULARY.get(type)
    if kind is None:
        raise ValueError(f"no event type {type!r}; an application's own are called x.<app>.<name>")
    try:
        return kind(**data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"event {type}: field {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _plain(type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an application's own event as JSON values."""
    plain = {}
    for name, value in data.items():
        if name == "type":
            raise ValueError(f"event {type}: field type: the word is taken; give the field another name")
        try:
            plain[name] = to_jsonable_python(value)
        except ValueError as error:
            raise ValueError(f"event {type}: field {name} is not JSON: {error}") from error
    return plain


class Envelope(BaseModel):
    """An event as stored and carried: its place in the run, whose it is, and what it says.

    ``seq`` counts the events of a run from 1 without a hole. ``run`` is the root job's id, ``job`` the job that spoke.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    seq: int
    run: UUID
    job: UUID
    tenant: str
    type: str
    time: datetime
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        """Whether nothing follows in this run: the root's own terminal event."""
        return self.run == self.job and self.type in TERMINAL_TYPES
