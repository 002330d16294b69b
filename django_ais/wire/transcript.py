"""What a run has said so far, for formats that speak of messages instead of events. Values in, values out.

Folded from the run's first event on. A `Part` is one text, thought or tool call of one job, under an id that is unique
in the run. An attempt that ends before its message does has said nothing: `DROPPED` takes the text back, and what the
next attempt says is another part. What was open when a job ended for good is kept as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal, NamedTuple
from uuid import UUID

from django_ais.events import TERMINAL_TYPES, Envelope
from django_ais.wire.format import one_line

Kind = Literal["text", "thought", "tool"]
STATUSES = {f"job.{verb}": verb for verb in "queued suspended succeeded failed cancelled skipped".split()} | {
    "job.started": "running", "job.resumed": "queued", "job.retried": "queued",
    "run.started": "running", "run.succeeded": "succeeded", "run.failed": "failed", "run.cancelled": "cancelled",
}  # fmt: skip
TOLD_OF_A_JOB = ("attempt", "reason", "code", "message", "current", "total")


class Verb(Enum):
    """What may happen to a part, a job or the run."""

    OPENED = auto()
    GREW = auto()
    CLOSED = auto()
    DROPPED = auto()
    CALLED = auto()
    ANSWERED = auto()
    ENTERED = auto()
    LEFT = auto()
    NOTED = auto()  # anything else that an event says
    ENDED = auto()


@dataclass(slots=True)
class Part:
    """A text, a thought or a tool call, as far as it has come."""

    id: str
    kind: Kind
    job: Job
    attempt: int
    name: str  # the message's, as its job calls it; of a tool
    role: str = "assistant"
    text: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    content: Any = None
    error: str | None = None


@dataclass(slots=True)
class Job:
    """A job of the run, as its events tell of it."""

    id: UUID
    name: str
    is_root: bool
    attempt: int = 0
    is_entered: bool = False
    state: dict[str, Any] = field(default_factory=dict)


class Change(NamedTuple):
    """One thing that happened. ``text`` is what a part grew by; ``data`` what the event says, as the client gets it."""

    verb: Verb
    part: Part | None = None
    job: Job | None = None
    text: str = ""
    type: str = ""
    data: dict[str, Any] = {}


class Transcript:
    """The parts and jobs of a run, in the order in which they began."""

    def __init__(self, run: UUID) -> None:
        self.run = run
        self.parts: dict[str, Part] = {}
        self.open: dict[str, Part] = {}
        self.jobs: dict[UUID, Job] = {}
        self._newest: dict[tuple[UUID, Kind, str], tuple[int, Part]] = {}

    def take(self, envelope: Envelope, data: dict[str, Any]) -> Iterator[Change]:
        """What an event changes. Consume it before the next is taken."""
        job = self._job(envelope, data)
        match envelope.type:
            case "message.started" | "message.delta":
                yield from self._spoken(job, "text", data)
            case "message.completed":
                yield from self._close(self._thoughts(job) + self._open(job, "text", data["message"]))
            case "thought.delta":
                yield from self._spoken(job, "thought", data)
            case "tool.called" | "tool.returned" | "tool.failed":
                yield from self._tool(job, envelope.type, data)
            case type if type.startswith(("job.", "run.")):
                yield from self._moved(job, type, data)
            case type:
                yield from self._close(self._thoughts(job) if type == "usage.recorded" else [])
                yield Change(Verb.NOTED, job=job, type=type, data=data)

    # -- jobs

    def _job(self, envelope: Envelope, data: dict[str, Any]) -> Job:
        job = self.jobs.get(envelope.job)
        if job is None:
            job = self.jobs[envelope.job] = Job(envelope.job, _named(data), envelope.job == self.run)
        if (status := STATUSES.get(envelope.type)) is not None:
            kept = {key: data[key] for key in TOLD_OF_A_JOB if key in data}
            job.state = {"job": str(job.id), "name": job.name, "status": status, **kept}
        elif envelope.type == "job.progress":
            job.state = {**job.state, **data}
        return job

    def _moved(self, job: Job, type: str, data: dict[str, Any]) -> Iterator[Change]:
        if type in ("job.started", "run.started"):
            job.attempt = data.get("attempt", job.attempt + 1)
            yield from self._give_up(job)
            if not job.is_entered:
                job.is_entered = True
                yield Change(Verb.ENTERED, job=job)
        elif type == "job.retried" or (type == "job.suspended" and data["reason"] != "children"):
            yield from self._give_up(job)
        elif type in TERMINAL_TYPES or type == "job.suspended":
            yield from self._close(self._open_of(job))
        if job.is_root and type in TERMINAL_TYPES:
            yield from self._close(list(self.open.values()))
            yield Change(Verb.ENDED, job=job, type=type, data=data)
            return
        yield Change(Verb.NOTED, job=job, type=type, data=data)
        if type in TERMINAL_TYPES and job.is_entered:
            job.is_entered = False
            yield Change(Verb.LEFT, job=job)

    def _give_up(self, job: Job) -> Iterator[Change]:
        """What the last attempt left open was never said, nor thought; a tool that has not returned will not."""
        for part in self._open_of(job):
            if part.kind == "tool":
                yield from self._close([part])
                continue
            _, thought = self._newest.get((job.id, "thought", part.name), (0, None))
            if thought is not None and thought is not part and thought.id in self.parts:
                yield self._dropped(thought)
            yield self._dropped(part)

    # -- parts

    def _spoken(self, job: Job, kind: Kind, data: dict[str, Any]) -> Iterator[Change]:
        yield from self._close(self._thoughts(job) if kind == "text" else [])
        found = self._open(job, kind, data["message"])
        if not found:
            yield from self._said_before(job, kind, data["message"])
            found = [self._begin(job, kind, data["message"])]
            found[0].role = data.get("role", "assistant")
            yield Change(Verb.OPENED, part=found[0])
        if text := data.get("text"):
            found[0].text += text
            yield Change(Verb.GREW, part=found[0], text=text)

    def _said_before(self, job: Job, kind: Kind, name: str) -> Iterator[Change]:
        """An earlier attempt that said the same under the same name has not said it."""
        _, part = self._newest.get((job.id, kind, name), (0, None))
        if part is not None and part.attempt < job.attempt and part.id in self.parts:
            yield self._dropped(part)

    def _tool(self, job: Job, type: str, data: dict[str, Any]) -> Iterator[Change]:
        yield from self._close(self._thoughts(job))
        found = self._open(job, "tool", data["call"])
        if type == "tool.called" or not found:
            found = [self._begin(job, "tool", data["call"])]
            found[0].name = data["name"]
            found[0].arguments = data.get("arguments", {})
            yield Change(Verb.CALLED, part=found[0])
        if type != "tool.called":
            found[0].content = data.get("content")
            found[0].error = data["message"] if type == "tool.failed" else None
            del self.open[found[0].id]
            yield Change(Verb.ANSWERED, part=found[0])

    def _begin(self, job: Job, kind: Kind, name: str) -> Part:
        number = self._newest.get((job.id, kind, name), (0, None))[0] + 1
        place = f"{kind}/" if kind == "thought" else ""
        again = f"~{number}" if number > 1 else ""
        part = Part(one_line(f"{job.id}/{place}{name}{again}"), kind, job, job.attempt, name)
        self._newest[job.id, kind, name] = number, part
        self.parts[part.id] = self.open[part.id] = part
        return part

    def _open(self, job: Job, kind: Kind, name: str) -> list[Part]:
        _, part = self._newest.get((job.id, kind, name), (0, None))
        return [part] if part is not None and part.id in self.open else []

    def _open_of(self, job: Job) -> list[Part]:
        return [part for part in self.open.values() if part.job is job]

    def _thoughts(self, job: Job) -> list[Part]:
        return [part for part in self.open.values() if part.kind == "thought" and part.job is job]

    def _dropped(self, part: Part) -> Change:
        del self.parts[part.id]
        was_open = self.open.pop(part.id, None) is not None
        return Change(Verb.DROPPED, part=part, data={"was_open": was_open})

    def _close(self, parts: list[Part]) -> Iterator[Change]:
        for part in parts:
            del self.open[part.id]
            if part.kind == "tool":
                part.error = "The attempt ended before it returned."
                yield Change(Verb.ANSWERED, part=part)
            else:
                yield Change(Verb.CLOSED, part=part)


def _named(data: dict[str, Any]) -> str:
    """What a job is called, by its first event."""
    name = data.get("workflow_job") or data.get("job_type") or "job"
    return one_line(name if data.get("item") is None else f"{name}[{data['item']}]")
