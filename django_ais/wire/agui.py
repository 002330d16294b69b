"""AG-UI: a run as its clients' events (https://docs.ag-ui.com).

The first is RUN_STARTED, the last RUN_FINISHED or RUN_ERROR, with nothing open before it and nothing after it. A job
below the root is a step. What the protocol has no word for is CUSTOM, under the event's own type; with a job's status
where the event is one of a job. A client that joins in the middle is first told what there is: the state of each job
(CUSTOM ``ais.job``), the messages so far, and whatever is still open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django_ais.events import Envelope
from django_ais.wire.format import INTERRUPTED, compact, data_frame, retry
from django_ais.wire.showing import shown_data
from django_ais.wire.transcript import Change, Job, Part, Transcript, Verb

ROLES = frozenset({"assistant", "user", "system", "developer"})
Event = dict[str, Any]


class AgUi:
    """Events of AG-UI, for ``HttpAgent``.

    ``until`` is the number of the event up to which the run is told as a whole. ``thread`` and ``name`` are the ids by
    which the client knows its thread and this run; ``earlier`` the messages it has, handed back to it unchanged with
    each snapshot.
    """

    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        run: UUID,
        *,
        until: int,
        is_staff: bool = False,
        thread: str = "",
        name: str = "",
        earlier: Sequence[Event] = (),
        protocol: str = "",
    ) -> None:
        self.is_over = False
        self._until = until
        self._is_staff = is_staff
        self._ids = {"threadId": thread or str(run), "runId": name or str(run)}
        self._earlier = list(earlier)
        self._knows_cancelled = bool(protocol)  # earlier clients, which name no version, die of that outcome
        self._transcript = Transcript(run)
        self._has_begun = False
        self._steps: dict[UUID, str] = {}

    def opening(self, after: int) -> bytes:
        """A comment, and when to come back."""
        return b": open\n" + retry()

    def frames(self, envelopes: Sequence[Envelope]) -> bytes:
        """What the events change, and the whole once ``until`` is reached."""
        told: list[Event] = []
        for envelope in envelopes:
            for change in self._transcript.take(envelope, shown_data(envelope, is_staff=self._is_staff)):
                if self._has_begun:
                    told += self._changed(change)
                elif change.verb is Verb.ENDED:
                    told += [*self._begin(), *self._ended(change)]
            if envelope.seq >= self._until and not self._has_begun:
                told += self._begin()
        return b"".join(map(data_frame, told))

    def closing(self) -> bytes:
        """The client takes a silent end for success, so an end that is not the run's is an error."""
        if self.is_over:
            return b""
        self.is_over = True
        return data_frame(_error("The stream was interrupted; the run goes on.", INTERRUPTED))

    # -- the whole

    def _begin(self) -> list[Event]:
        self._has_begun = True
        run = self._transcript.run
        told = [{"type": "RUN_STARTED", **self._ids}, _custom("ais.run", {"run": str(run)})]
        for job in self._transcript.jobs.values():
            told += [_state(job), *(self._entered(job) if job.is_entered else [])]
        if self._transcript.parts:
            told.append(self._snapshot())
        for part in self._transcript.open.values():
            told += _started(part) if part.kind != "tool" else []
        return told

    def _snapshot(self) -> Event:
        transcript = self._transcript
        own = [
            message for part in transcript.parts.values()
            for message in _messages(part, is_open=part.id in transcript.open)
        ]  # fmt: skip
        names = {message["id"] for message in own}
        kept = [message for message in self._earlier if message["id"] not in names]
        return {"type": "MESSAGES_SNAPSHOT", "messages": [*kept, *own]}

    # -- what changes

    def _changed(self, change: Change) -> list[Event]:
        match change:
            case Change(verb=Verb.OPENED, part=Part() as part):
                return _started(part)
            case Change(verb=Verb.GREW, part=Part() as part):
                return [{"type": f"{_prefix(part)}_CONTENT", "messageId": part.id, "delta": change.text}]
            case Change(verb=Verb.CLOSED, part=Part() as part):
                return _ended(part)
            case Change(verb=Verb.DROPPED, part=Part() as part):
                return [*(_ended(part) if change.data["was_open"] else []), self._snapshot()]
            case Change(verb=Verb.CALLED, part=Part() as part):
                return _called(part)
            case Change(verb=Verb.ANSWERED, part=Part() as part):
                return [{"type": "TOOL_CALL_RESULT", **_result(part)}]
            case Change(verb=Verb.ENTERED, job=Job() as job):
                return self._entered(job)
            case Change(verb=Verb.LEFT, job=Job() as job):
                return self._left(job.id)
            case Change(verb=Verb.NOTED, job=Job() as job):
                state = job.state if change.type.startswith(("job.", "run.")) else {}
                return [_custom(change.type, {"job": str(job.id), "name": job.name, **state, **change.data})]
            case Change(verb=Verb.ENDED, job=Job() as job):
                return [_state(job), *self._ended(change)]
        return []

    def _entered(self, job: Job) -> list[Event]:
        if job.is_root:
            return []
        name = job.name if job.name not in self._steps.values() else f"{job.name} ({job.id})"
        self._steps[job.id] = name
        return [{"type": "STEP_STARTED", "stepName": name}]

    def _left(self, job: UUID) -> list[Event]:
        name = self._steps.pop(job, None)
        return [] if name is None else [{"type": "STEP_FINISHED", "stepName": name}]

    def _ended(self, change: Change) -> list[Event]:
        self.is_over = True
        left = [event for job in list(self._steps) for event in self._left(job)]
        if change.type.endswith(".failed"):
            return [*left, _error(change.data["message"], change.data["code"])]
        outcome = "cancelled" if change.type.endswith(".cancelled") else "success"
        if outcome == "cancelled" and not self._knows_cancelled:
            return [*left, _error("The run was cancelled.", "cancelled")]
        return [*left, {"type": "RUN_FINISHED", **self._ids, "outcome": {"type": outcome}}]


def _custom(name: str, value: Event) -> Event:
    return {"type": "CUSTOM", "name": name, "value": value}


def _state(job: Job) -> Event:
    return _custom("ais.job", job.state)


def _error(message: str, code: str) -> Event:
    return {"type": "RUN_ERROR", "message": message, "code": code}


def _prefix(part: Part) -> str:
    return "TEXT_MESSAGE" if part.kind == "text" else "REASONING_MESSAGE"


def _role(part: Part) -> str:
    if part.kind == "thought":
        return "reasoning"
    return part.role if part.role in ROLES else "assistant"


def _started(part: Part) -> list[Event]:
    started = {"type": f"{_prefix(part)}_START", "messageId": part.id, "role": _role(part)}
    return [started] if part.kind == "text" else [{"type": "REASONING_START", "messageId": part.id}, started]


def _ended(part: Part) -> list[Event]:
    ended = {"type": f"{_prefix(part)}_END", "messageId": part.id}
    return [ended] if part.kind == "text" else [ended, {"type": "REASONING_END", "messageId": part.id}]


def _called(part: Part) -> list[Event]:
    return [
        {"type": "TOOL_CALL_START", "toolCallId": part.id, "toolCallName": part.name},
        {"type": "TOOL_CALL_ARGS", "toolCallId": part.id, "delta": compact(part.arguments)},
        {"type": "TOOL_CALL_END", "toolCallId": part.id},
    ]


def _result(part: Part) -> Event:
    """A tool's answer: its text, JSON if it is none, and nothing where it is for staff."""
    content = part.content if part.error is None else part.error
    text = content if isinstance(content, str) else "" if content is None else compact(content)
    return {"messageId": f"{part.id}/result", "toolCallId": part.id, "content": text}


def _messages(part: Part, *, is_open: bool) -> list[Event]:
    """A part as a message of a snapshot; a tool call is two once it is answered."""
    if part.kind != "tool":
        return [{"id": part.id, "role": _role(part), "content": part.text}]
    function = {"name": part.name, "arguments": compact(part.arguments)}
    called = {
        "id": part.id,
        "role": "assistant",
        "toolCalls": [{"id": part.id, "type": "function", "function": function}],
    }
    if is_open:
        return [called]
    result = _result(part)
    return [called, {"id": result["messageId"], "role": "tool", "toolCallId": part.id, "content": result["content"]}]
