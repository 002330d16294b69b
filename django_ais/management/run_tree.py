"""A run as a tree, built from its events alone. Values only: no database, no clock, no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django_ais.events import Envelope

MOST_TEXT = 400  # characters kept of what a job streams
ENDINGS = frozenset({"succeeded", "failed", "cancelled", "skipped"})


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A workflow job before it exists. ``noun`` is what its foreach calls an item."""

    id: str
    type: str
    needs: tuple[str, ...] = ()
    noun: str | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the run a job stands."""

    type: str
    parent: UUID | None = None
    workflow_job: str | None = None
    item: int | None = None


@dataclass(frozen=True, kw_only=True)
class Retry:
    """An attempt that ended in an error and the one that will follow, at ``due``."""

    number: int
    most: int
    due: datetime
    delay: float
    code: str
    message: str


@dataclass(eq=False)
class Node:
    """A job of the run, or a workflow job that does not exist yet (``waiting``).

    ``status`` is a job's, or ``waiting`` or ``retrying``. ``total`` and ``ended`` count a foreach's items.
    """

    name: str
    type: str
    status: str = "waiting"
    planned: Planned | None = None
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    attempt: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    text: str = ""
    note: str = ""  # its progress, or why it was skipped, suspended or ended badly
    retry: Retry | None = None
    retries: int = 0
    total: int | None = None
    ended: int = 0
    tokens: int = 0
    cost: int = 0  # micro-units

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ENDINGS

    @property
    def path(self) -> str:
        """Its name with its ancestors'."""
        inside = self.parent is not None and self.parent.parent is not None
        return f"{self.parent.path} / {self.name}" if inside and self.parent else self.name


class RunTree:
    """The state of a run after the events that were applied to it.

    ``identify`` finds the place of a job that was born without a ``job.queued`` event: one that was skipped, reused or
    has its items first.
    """

    def __init__(
        self,
        run: UUID,
        *,
        label: str,
        tenant: str = "",
        planned: Iterable[Planned] = (),
        identify: Callable[[UUID], Place | None] = lambda _: None,
    ) -> None:
        self.run = run
        self.tenant = tenant
        self.root = Node(label, "", status="queued")
        self._identify = identify
        self._nodes: dict[UUID, Node] = {run: self.root}
        self._workflow_jobs: dict[str, Node] = {}
        for job in planned:
            self._workflow_jobs[job.id] = self._under(self.root, Node(job.id, job.type, planned=job))

    def apply(self, envelope: Envelope) -> Node:
        """Take the next event; return the node that it tells of."""
        node = self._node(envelope)
        noun, _, verb = envelope.type.partition(".")
        if noun == "run":
            noun = "job"
        handler = getattr(self, f"_{noun}_{verb}", None)
        if handler is not None:
            handler(node, envelope)
        return node

    def _node(self, envelope: Envelope) -> Node:
        if envelope.job not in self._nodes:
            self._nodes[envelope.job] = self._placed(envelope.job, self._place_of(envelope))
        return self._nodes[envelope.job]

    def _place_of(self, envelope: Envelope) -> Place:
        data = envelope.data
        if envelope.type == "job.queued" and data.get("parent") is not None:
            return Place(
                type=data["job_type"],
                parent=UUID(str(data["parent"])),
                workflow_job=data.get("workflow_job"),
                item=data.get("item"),
            )
        return self._identify(envelope.job) or Place(type=str(envelope.job))

    def _placed(self, job: UUID, place: Place) -> Node:
        known = self._workflow_jobs.get(place.workflow_job or "")
        if known is None:
            parent = self._nodes.get(place.parent or self.run, self.root)
            return self._under(parent, Node(place.type, place.type))
        if place.item is None:
            return known
        if place.parent is not None:
            self._nodes.setdefault(place.parent, known)
        noun = (known.planned.noun if known.planned else None) or "item"
        return self._under(known, Node(f"{noun} {place.item + 1}", place.type))

    def _under(self, parent: Node, node: Node) -> Node:
        node.parent = parent
        parent.children.append(node)
        return node

    def _job_queued(self, node: Node, envelope: Envelope) -> None:
        node.status = "queued"

    def _job_started(self, node: Node, envelope: Envelope) -> None:
        node.status, node.retry, node.text = "running", None, ""
        node.attempt = int(envelope.data.get("attempt", node.attempt))
        node.started_at = node.started_at or envelope.time
        if "workflow" in envelope.data:
            node.name = f"{envelope.data['workflow']} {envelope.data['version']}"

    def _job_progress(self, node: Node, envelope: Envelope) -> None:
        current, total = envelope.data.get("current"), envelope.data.get("total")
        amount = "" if current is None else f"{current:g}" + ("" if total is None else f" of {total:g}")
        node.note = "  ".join(part for part in (amount, envelope.data.get("message") or "") if part)

    def _job_retried(self, node: Node, envelope: Envelope) -> None:
        data = envelope.data
        delay = float(data["delay"])
        node.status = "retrying"
        node.retries += 1
        node.retry = Retry(
            number=data["retry"],
            most=data["max_retries"],
            due=envelope.time + timedelta(seconds=delay),
            delay=delay,
            code=data["code"],
            message=data["message"],
        )

    def _job_suspended(self, node: Node, envelope: Envelope) -> None:
        reason = envelope.data["reason"]
        node.status, node.note = "suspended", "" if reason == "children" else reason
        if reason == "children":
            node.total = envelope.data.get("children", node.total)
            node.started_at = node.started_at or envelope.time

    def _job_resumed(self, node: Node, envelope: Envelope) -> None:
        node.status, node.note = "queued", ""

    def _job_succeeded(self, node: Node, envelope: Envelope) -> None:
        self._end(node, envelope, "reused" if envelope.data.get("reused") else "")

    def _job_failed(self, node: Node, envelope: Envelope) -> None:
        self._end(node, envelope, envelope.data.get("message") or envelope.data.get("code", ""))

    def _job_cancelled(self, node: Node, envelope: Envelope) -> None:
        self._end(node, envelope, envelope.data.get("reason") or "")

    def _job_skipped(self, node: Node, envelope: Envelope) -> None:
        self._end(node, envelope, envelope.data.get("reason", ""))

    def _end(self, node: Node, envelope: Envelope, note: str) -> None:
        node.status = envelope.type.partition(".")[2]
        node.note, node.retry, node.text = note, None, ""
        node.ended_at = envelope.time
        if node.parent is not None:
            node.parent.ended += 1

    def _message_started(self, node: Node, envelope: Envelope) -> None:
        node.text = ""

    def _message_delta(self, node: Node, envelope: Envelope) -> None:
        node.text = (node.text + envelope.data["text"])[-MOST_TEXT:]

    def _usage_recorded(self, node: Node, envelope: Envelope) -> None:
        tokens = _count(envelope.data, "input_tokens") + _count(envelope.data, "output_tokens")
        current: Node | None = node
        while current is not None:  # a workflow job shows what its items used, the run what all of them did
            current.tokens += tokens
            current.cost += _count(envelope.data, "cost")
            current = current.parent


def _count(data: dict[str, Any], key: str) -> int:
    return int(data.get(key) or 0)
