"""Recorded runs, as their events are stored, and the exact bytes of each in each format (``golden/``).

``python -m tests.unit.wire.recordings`` writes the golden files anew; read the difference before you believe it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django_ais import wire
from django_ais.events import Envelope, build

GOLDEN = Path(__file__).parent / "golden"
RUN = UUID("00000000-0000-7000-8000-000000000001")
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Said = tuple[int, str, dict[str, Any]]  # by which job of the run (1 is its root), the event's type, its data


def job(number: int, run: UUID = RUN) -> UUID:
    """The id of a job of the run."""
    return UUID(int=run.int + number - 1)


def run_of(story: str) -> UUID:
    """The run of a story."""
    return UUID(int=RUN.int + 0x100 * list(STORIES).index(story))


def envelopes(said: list[Said], run: UUID = RUN) -> list[Envelope]:
    """What was said, as envelopes."""
    return [
        Envelope(
            seq=place, run=run, job=job(number, run), tenant="", type=type,
            time=BEGAN + timedelta(milliseconds=50 * place), data=build(type, data).data(),
        )
        for place, (number, type, data) in enumerate(said, start=1)
    ]  # fmt: skip


BEGUN: list[Said] = [
    (1, "job.queued", {"job_type": "talk"}),
    (1, "run.started", {"workflow": "talk", "version": "1"}),
    (1, "job.suspended", {"reason": "children", "children": 1}),
    (2, "job.queued", {"job_type": "chat.answer", "workflow_job": "answer"}),
    (2, "job.started", {"attempt": 1}),
]
ANSWER: list[Said] = [
    (2, "thought.delta", {"message": "turn-1", "text": "The number "}),
    (2, "thought.delta", {"message": "turn-1", "text": "is A-17."}),
    (2, "usage.recorded", {"step": "turn-1", "model": "small", "input_tokens": 812, "output_tokens": 64}),
    (2, "tool.called", {"call": "turn-1/tool-0", "name": "lookup", "arguments": {"number": "A-17"}}),
    (2, "job.progress", {"current": 1, "total": 2}),
    (2, "tool.returned", {"call": "turn-1/tool-0", "name": "lookup", "content": {"total": 12}}),
    (2, "message.started", {"message": "turn-2"}),
    (2, "message.delta", {"message": "turn-2", "text": 'It is "on"\r\nits way'}),
    (2, "message.delta", {"message": "turn-2", "text": " 😀."}),
]
STORIES: dict[str, list[Said]] = {
    "succeeded": [
        *BEGUN,
        *ANSWER,
        (2, "message.completed", {"message": "turn-2"}),
        (2, "log.written", {"level": "info", "message": "12 pages"}),
        (2, "x.shop.greeted", {"politely": True, "by": None}),
        (2, "job.succeeded", {}),
        (1, "run.succeeded", {}),
    ],
    "failed": [
        *BEGUN,
        *ANSWER[:-1],
        (2, "tool.called", {"call": "turn-2/tool-0", "name": "book", "arguments": {"total": 12}}),
        (2, "tool.failed", {"call": "turn-2/tool-0", "name": "book", "code": "KeyError", "message": "sk-123"}),
        (2, "job.failed", {"code": "KeyError", "message": "no key sk-123"}),
        (1, "run.failed", {"code": "children_failed", "message": "workflow job 'answer' failed"}),
    ],
    "cancelled": [
        *BEGUN,
        *ANSWER[:5],
        (2, "message.delta", {"message": "turn-2", "text": "It is"}),
        (2, "job.cancelled", {"reason": "cancelled by hand"}),
        (1, "run.cancelled", {"reason": "cancelled by hand"}),
    ],
    "suspended": [
        *BEGUN,
        (2, "message.delta", {"message": "turn-1", "text": "Half"}),
        (2, "job.suspended", {"reason": "exhausted"}),
        (2, "approval.requested", {"approval": "review", "title": "Check A-17"}),
        (2, "job.resumed", {"reason": "exhausted"}),
        (2, "job.started", {"attempt": 2}),
        (2, "message.started", {"message": "turn-1.2"}),
        (2, "message.delta", {"message": "turn-1.2", "text": "All"}),
        (2, "message.completed", {"message": "turn-1.2"}),
        (2, "job.succeeded", {}),
        (1, "run.succeeded", {}),
    ],
    "retried": [
        *BEGUN,
        (2, "message.started", {"message": "turn-1"}),
        (2, "message.delta", {"message": "turn-1", "text": "Once said."}),
        (2, "message.completed", {"message": "turn-1"}),
        (2, "thought.delta", {"message": "turn-2", "text": "Hm."}),
        (2, "message.started", {"message": "turn-2"}),
        (2, "message.delta", {"message": "turn-2", "text": "Go aw"}),
        (2, "tool.called", {"call": "turn-2/tool-0", "name": "book", "arguments": {}}),
        (
            2,
            "job.retried",
            {"attempt": 1, "code": "timeout", "message": "late", "delay": 1.6, "retry": 1, "max_retries": 2},
        ),
        (2, "job.started", {"attempt": 2}),
        (2, "message.started", {"message": "turn-2.2"}),
        (2, "message.delta", {"message": "turn-2.2", "text": "Hel"}),
        (2, "job.started", {"attempt": 3}),  # its worker process died: the lease ran out
        (2, "message.started", {"message": "turn-2.3"}),
        (2, "message.delta", {"message": "turn-2.3", "text": "Hello"}),
        (2, "message.completed", {"message": "turn-2.3"}),
        (2, "job.succeeded", {}),
        (1, "run.succeeded", {}),
    ],
    "children": [
        *BEGUN[:3],
        *[(n, "job.queued", {"job_type": "read", "workflow_job": "read", "item": n - 2}) for n in (2, 3)],
        (2, "job.started", {"attempt": 1}),
        (3, "job.started", {"attempt": 1}),
        (2, "message.started", {"message": "turn-1"}),
        (3, "message.started", {"message": "turn-1"}),
        (2, "message.delta", {"message": "turn-1", "text": "one "}),
        (3, "message.delta", {"message": "turn-1", "text": "two "}),
        (2, "message.delta", {"message": "turn-1", "text": "pages"}),
        (2, "message.completed", {"message": "turn-1"}),
        (2, "job.succeeded", {}),
        (4, "job.queued", {"job_type": "read", "workflow_job": "read", "item": 1}),
        (4, "job.started", {"attempt": 1}),
        (5, "job.skipped", {"job_type": "REVIEW", "workflow_job": "review", "reason": "its condition is false"}),
        (3, "message.completed", {"message": "turn-1"}),
        (3, "job.succeeded", {}),
        (4, "job.succeeded", {}),
        (1, "run.succeeded", {}),
    ],
}  # fmt: skip
FORMATS: dict[str, Callable[..., wire.Format]] = {
    "native": lambda until, run=RUN, **more: wire.Native(**more),
    "agui": lambda until, run=RUN, **more: wire.AgUi(
        run, until=until, thread="thread-1", name="run-1", protocol="1.0",
        earlier=[{"id": "u1", "role": "user", "content": "Where?"}], **more,
    ),
    "vercel": lambda until, run=RUN, **more: wire.Vercel(run, until=until, **more),
}  # fmt: skip


def told(story: str, format: str, *, until: int = 1, is_staff: bool = False) -> bytes:
    """The bytes of a story for a client that came when the run had so many events, until the format is over."""
    form = FORMATS[format](until, run_of(story), is_staff=is_staff)
    said = b""
    for envelope in envelopes(STORIES[story], run_of(story)):
        said += form.frames([envelope])
        if form.is_over:
            break
    return said


def main() -> None:
    """Write the golden files."""
    for story, said in STORIES.items():
        for format in FORMATS:
            (GOLDEN / f"{story}.{format}.txt").write_bytes(told(story, format))
            if format != "native":
                (GOLDEN / f"{story}.{format}.joined.txt").write_bytes(told(story, format, until=len(said) - 4))
    for format in FORMATS:
        (GOLDEN / f"succeeded.{format}.staff.txt").write_bytes(told("succeeded", format, is_staff=True))


if __name__ == "__main__":
    main()
