"""What a run's tree and its events look like as text. Values in, text out; `live` brings it to a terminal or a pipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_ais.events import Envelope
from django_ais.management.run_tree import Node, RunTree

MARKS = {
    "waiting": "○",
    "queued": "○",
    "retrying": "↻",
    "suspended": "⏸",
    "succeeded": "✔",
    "failed": "✘",
    "cancelled": "⊘",
    "skipped": "–",
}
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAMES_A_SECOND = 10
EIGHTHS = " ▏▎▍▌▋▊▉"
BAR_WIDTH = 12
TAIL_WIDTH = 60  # characters of what a job streams
MOST_SHOWN = 8  # jobs below one that are shown; the others are counted
LINE_WIDTH = 100  # of what an event says, in a pipe


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the tree: how deep it hangs, what stands in its columns, and its status, which decides its colour."""

    depth: int
    mark: str
    name: str
    type: str
    detail: str
    status: str


def heading(tree: RunTree) -> str:
    """The line above the tree: what runs, for whom, and what it has used."""
    parts = [tree.root.name, f"run {tree.run}", f"tenant {tree.tenant}" if tree.tenant else "", *usage(tree.root)]
    return "   ".join(part for part in parts if part)


def rows(tree: RunTree, now: datetime) -> list[Row]:
    """The tree's lines: every workflow job, and below it whatever is under way or went wrong."""
    return [row for node in tree.root.children for row in _rows(node, now, 0)]


def _rows(node: Node, now: datetime, depth: int) -> Iterator[Row]:
    inner = depth > 0
    yield Row(
        depth=depth,
        mark=_mark(node, now),
        name=one_line(node.name),
        type="" if inner else one_line(node.type),
        detail="   ".join(_details(node, now)),
        status="running" if _is_under_way(node) else node.status,
    )
    telling = [child for child in node.children if _is_telling(child)] if node.status != "succeeded" else []
    for child in telling[:MOST_SHOWN]:
        yield from _rows(child, now, depth + 1)
    if len(telling) > MOST_SHOWN:
        more = f"{len(telling) - MOST_SHOWN} more"
        yield Row(depth=depth + 1, mark="…", name=more, type="", detail="", status="waiting")


def _is_under_way(node: Node) -> bool:
    return node.status == "running" or (node.status == "suspended" and node.total is not None and not node.note)


def _is_telling(node: Node) -> bool:
    return node.status in ("running", "retrying", "suspended", "failed", "cancelled")


def _mark(node: Node, now: datetime) -> str:
    if _is_under_way(node):
        return SPINNER[int(now.timestamp() * FRAMES_A_SECOND) % len(SPINNER)]
    return MARKS.get(node.status, "?")


def _details(node: Node, now: datetime) -> Iterator[str]:
    if node.status == "waiting" and node.planned is not None and node.planned.needs:
        yield f"waits for {', '.join(node.planned.needs)}"
    if node.status == "retrying":
        yield retry_text(node, now)
        return
    if node.started_at is not None:
        yield f"{((node.ended_at or now) - node.started_at).total_seconds():.1f} s"
    yield from usage(node)
    if node.total is not None:
        yield f"{node.ended} of {node.total}  {bar(node.ended, node.total)}"
    if retried := node.retries + sum(child.retries for child in node.children):
        yield f"{retried} retried" if node.children else f"attempt {node.attempt}"
    if node.note:
        yield one_line(node.note)
    if node.text:
        yield f"› {tail(node.text)}"


def retry_text(node: Node, now: datetime) -> str:
    """What comes after a failed attempt, and why."""
    retry = node.retry
    if retry is None:
        return "queued again"
    which = f"retry {retry.number} of {retry.most}" if retry.most and retry.number else "queued again"
    left = (retry.due - now).total_seconds()
    soon = f" in {left:.1f} s" if left > 0 else ""
    return f"{which}{soon}: {retry.code.replace('_', ' ')}"


def usage(node: Node) -> list[str]:
    """Cost and tokens, where there are any."""
    cost = f"${node.cost / 1_000_000:,.4f}" if node.cost else ""
    tokens = f"{node.tokens:,} tokens" if node.tokens else ""
    return [part for part in (cost, tokens) if part]


def bar(done: int, total: int, *, width: int = BAR_WIDTH) -> str:
    """A bar that fills from the left in eighths of a character."""
    filled = 8 * width if total <= 0 else min(8 * width * done // total, 8 * width)
    whole, part = divmod(filled, 8)
    return ("█" * whole + (EIGHTHS[part] if part else "")).ljust(width, "·")


def tail(text: str, *, width: int = TAIL_WIDTH) -> str:
    """The end of a text, from a word on."""
    shown = one_line(text)
    if len(shown) <= width:
        return shown
    end = shown[-width:]
    return f"…{end[end.find(' ') + 1 :]}"


def one_line(text: str) -> str:
    """Text without line breaks or control characters: what a document holds must not move the cursor."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(shown.split())


def line(envelope: Envelope, node: Node, *, since: datetime) -> str:
    """An event as a line of a log: seconds since ``since``, which job, what happened."""
    seconds = (envelope.time - since).total_seconds()
    said = one_line(told(envelope.type, envelope.data))
    if len(said) > LINE_WIDTH:
        said = f"{said[: LINE_WIDTH - 1]}…"
    return f"{seconds:7.2f} s  {one_line(node.path):<24}  {envelope.type:<17}  {said}".rstrip()


def told(type: str, data: Mapping[str, Any]) -> str:
    """What an event says, in words; for one this page does not know, its data."""
    if type in WORDS:
        return WORDS[type](data)
    return json.dumps(data, ensure_ascii=False) if data else ""


def _retried(data: Mapping[str, Any]) -> str:
    which = f"retry {data['retry']} of {data['max_retries']}" if data["max_retries"] and data["retry"] else "again"
    soon = f"in {data['delay']:.1f} s" if data["delay"] else "at once"
    reason = data["code"].replace("_", " ")
    more = f": {data['message']}" if data["message"] not in ("", reason) else ""
    return f"{which} {soon}: {reason}{more}"


def _progress(data: Mapping[str, Any]) -> str:
    numbers = [f"{data[key]:g}" for key in ("current", "total") if data.get(key) is not None]
    return "  ".join(part for part in (" of ".join(numbers), data.get("message") or "") if part)


def _suspended(data: Mapping[str, Any]) -> str:
    children = data.get("children")
    return (
        f"waits for {'children' if children is None else f'{children} jobs'}"
        if data["reason"] == "children"
        else (str(data["reason"]))
    )


def _used(data: Mapping[str, Any]) -> str:
    cost = f", ${data['cost'] / 1_000_000:,.4f}" if data.get("cost") else ""
    estimated = " (estimated)" if data.get("estimated") else ""
    return f"{data.get('input_tokens', 0)} tokens in, {data.get('output_tokens', 0)} out{cost}{estimated}"


def _failed(data: Mapping[str, Any]) -> str:
    return f"{data['code']}: {data['message']}"


WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "job.queued": lambda data: str(data["job_type"]),
    "job.started": lambda data: f"attempt {data['attempt']}",
    "job.progress": _progress,
    "job.retried": _retried,
    "job.suspended": _suspended,
    "job.resumed": lambda data: str(data["reason"]),
    "job.succeeded": lambda data: "reused" if data.get("reused") else "",
    "job.failed": _failed,
    "job.cancelled": lambda data: str(data.get("reason") or ""),
    "job.skipped": lambda data: str(data["reason"]),
    "message.started": lambda data: str(data["message"]),
    "message.delta": lambda data: str(data["text"]),
    "message.completed": lambda data: str(data["finish"]),
    "thought.delta": lambda data: str(data["text"]),
    "log.written": lambda data: f"{data.get('level', 'info')}: {data['message']}",
    "usage.recorded": _used,
    "run.started": lambda data: f"{data['workflow']} {data['version']}",
    "run.failed": _failed,
    "run.cancelled": lambda data: str(data.get("reason") or ""),
}
