"""Vercel AI SDK: a run as one message of a UI message stream, version 1 (https://ai-sdk.dev).

The message's id is the run's: a client that resumes is told the message from its start, and puts it in the place of
what it had. Jobs are data parts. What the protocol has no word for is a transient data part, named by the event's type.
The protocol cannot take text back: when an attempt fails in the middle of a message, the stream is interrupted, and the
client that resumes gets the message without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django_ais.events import Envelope
from django_ais.wire.format import INTERRUPTED, data_frame, one_line, retry
from django_ais.wire.showing import shown_data
from django_ais.wire.transcript import Change, Job, Part, Transcript, Verb

DONE = b"data: [DONE]\n\n"
Chunk = dict[str, Any]


class Vercel:
    """Chunks of a UI message stream, for ``useChat``. ``until``: the event up to which the run is told as a whole."""

    headers: ClassVar[Mapping[str, str]] = {"X-Vercel-AI-UI-Message-Stream": "v1"}

    def __init__(self, run: UUID, *, until: int, is_staff: bool = False) -> None:
        self.is_over = False
        self._until = until
        self._is_staff = is_staff
        self._transcript = Transcript(run)
        self._has_begun = False

    def opening(self, after: int) -> bytes:
        """A comment, and when to come back."""
        return b": open\n" + retry()

    def frames(self, envelopes: Sequence[Envelope]) -> bytes:
        """What the events change, and the whole once ``until`` is reached."""
        return b"".join([self._told(envelope) for envelope in envelopes])

    def _told(self, envelope: Envelope) -> bytes:
        told: list[Chunk] = []
        for change in self._transcript.take(envelope, shown_data(envelope, is_staff=self._is_staff)):
            if self.is_over:
                break
            if self._has_begun:
                told += self._changed(change)
            elif change.verb is Verb.ENDED:
                told += [*self._begin(), *self._ended(change)]
        if envelope.seq >= self._until and not self._has_begun:
            told += self._begin()
        return b"".join(map(data_frame, told)) + (DONE if told and self.is_over else b"")

    def closing(self) -> bytes:
        """The client takes a silent end for success, so an end that is not the run's is an error."""
        if self.is_over:
            return b""
        self.is_over = True
        return data_frame({"type": "error", "errorText": INTERRUPTED}) + DONE

    # -- the whole

    def _begin(self) -> list[Chunk]:
        self._has_begun = True
        transcript = self._transcript
        told: list[Chunk] = [{"type": "start", "messageId": str(transcript.run)}, {"type": "start-step"}]
        told += [_status(job) for job in transcript.jobs.values()]
        for part in transcript.parts.values():
            told += _whole(part, is_open=part.id in transcript.open)
        return told

    # -- what changes

    def _changed(self, change: Change) -> list[Chunk]:
        match change:
            case Change(verb=Verb.OPENED, part=Part() as part):
                return [_chunk(part, "start")]
            case Change(verb=Verb.GREW, part=Part() as part):
                return [{**_chunk(part, "delta"), "delta": change.text}]
            case Change(verb=Verb.CLOSED, part=Part() as part):
                return [_chunk(part, "end")]
            case Change(verb=Verb.DROPPED, part=Part() as part):
                return self._taken_back(part, was_open=change.data["was_open"])
            case Change(verb=Verb.CALLED, part=Part() as part):
                return [_called(part)]
            case Change(verb=Verb.ANSWERED, part=Part() as part):
                return [_answer(part)]
            case Change(verb=Verb.NOTED, job=Job() as job):
                return [_note(job, change)]
            case Change(verb=Verb.ENDED, job=Job() as job):
                return [_status(job), *self._ended(change)]
        return []

    def _taken_back(self, part: Part, *, was_open: bool) -> list[Chunk]:
        if not part.text:
            return [_chunk(part, "end")] if was_open else []
        self.is_over = True
        return [{"type": "error", "errorText": INTERRUPTED}]

    def _ended(self, change: Change) -> list[Chunk]:
        self.is_over = True
        if change.type.endswith(".failed"):
            return [{"type": "error", "errorText": change.data["message"]}]
        if change.type.endswith(".cancelled"):
            return [{"type": "abort"}]
        return [{"type": "finish-step"}, {"type": "finish", "finishReason": "stop"}]


def _chunk(part: Part, what: str) -> Chunk:
    return {"type": f"{'text' if part.kind == 'text' else 'reasoning'}-{what}", "id": part.id}


def _called(part: Part) -> Chunk:
    called = {"type": "tool-input-available", "toolCallId": part.id, "toolName": part.name, "input": part.arguments}
    return {**called, "providerExecuted": True}  # it runs here: a client must not run it too


def _answer(part: Part) -> Chunk:
    if part.error is not None:
        return {"type": "tool-output-error", "toolCallId": part.id, "errorText": part.error}
    return {"type": "tool-output-available", "toolCallId": part.id, "output": part.content}


def _whole(part: Part, *, is_open: bool) -> list[Chunk]:
    if part.kind == "tool":
        return [_called(part)] if is_open else [_called(part), _answer(part)]
    said = [{**_chunk(part, "delta"), "delta": part.text}] if part.text else []
    return [_chunk(part, "start"), *said, *([] if is_open else [_chunk(part, "end")])]


def _status(job: Job) -> Chunk:
    return {"type": "data-ais-job", "id": str(job.id), "data": job.state}


def _note(job: Job, change: Change) -> Chunk:
    if change.type.startswith(("job.", "run.")):
        return _status(job)
    name = one_line(change.type).replace(".", "-")
    return {"type": f"data-{name}", "data": {"job": str(job.id), "name": job.name, **change.data}, "transient": True}
