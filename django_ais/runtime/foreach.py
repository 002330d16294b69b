"""A workflow job that runs once for each item of a list: its items, their turns, and what they come to together.

The job itself (worker `ais.foreach`) is never claimed: it waits, suspended, for its items, which are its children.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django_ais import events
from django_ais.exceptions import ChildrenFailedError
from django_ais.models import JobPacket
from django_ais.retry import JobConfig
from django_ais.runtime import database, lifecycle, sql
from django_ais.runtime.journal import Draft
from django_ais.runtime.lifecycle import FOREACH, Values
from django_ais.values import canonical
from django_ais.workflows.spec import ForeachSpec


@dataclass
class Items:
    """The items of one foreach job, to be inserted: rows, events of those born terminal, steps to copy."""

    rows: list[Values]
    drafts: list[Draft] = field(default_factory=list)
    copies: list[tuple[UUID, UUID]] = field(default_factory=list)

    def reuse(self, before: JobPacket | None) -> None:
        """Take over what the same items came to in the run that is retried, where their payload is the same."""
        if before is None:
            return
        recorded = {row.item: row for row in JobPacket.objects.using(database.database()).filter(parent=before)}
        for row in self.rows:
            old = recorded.get(row["item"])
            if old is None or canonical(old.payload) != canonical(row["payload"]):
                continue
            row["retry_of_id"] = old.id
            if old.status == "succeeded":
                row.update(status="succeeded", result=old.result, finished_at=database.now(), announce_at=None)
                self.drafts += [lifecycle.queued(row), Draft(row["id"], events.JobSucceeded(reused=True))]
            else:
                self.copies.append((old.id, row["id"]))

    def hold_back(self, limit: int | None) -> None:
        """Let only so many begin; the others wait as suspended rows for their turn."""
        waiting = [row for row in self.rows if row["status"] == "queued"]
        for row in waiting[limit:] if limit else ():
            row.update(status="suspended", waiting_on={"reason": "limit"}, start_by_at=None)

    @property
    def are_over(self) -> bool:
        """Whether none is left to run."""
        return all(row["status"] == "succeeded" for row in self.rows)


def gathering(job: Values, foreach: ForeachSpec, items: Items) -> Values:
    """The columns of the foreach job itself, given those of an ordinary one."""
    over = items.are_over
    more: Values = {"result": [row["result"] for row in items.rows], "finished_at": database.now()} if over else {}
    return {
        **job,
        "payload": {"items": len(items.rows)},
        "worker": FOREACH,
        "status": "succeeded" if over else "suspended",
        "waiting_on": None if over else {"reason": "children"},
        "phase": "finish",
        "config": {"limit": foreach.limit, "on_item_failure": foreach.on_item_failure},
        "announce_at": None,
        **more,
    }


def next_item(group: JobPacket) -> Values | None:
    """Queue the next item that the foreach's limit holds back; None if there is none."""
    if group.config["limit"] is None:
        return None
    waiting = JobPacket.objects.using(database.database()).filter(parent=group, status="suspended", attempt=0)
    item = waiting.order_by("item").first()
    if item is None:
        return None
    limit = JobConfig().updated(item.config).queue_timeout
    values = {
        **lifecycle.again(0.0),
        "status": "queued",
        "waiting_on": None,
        "start_by_at": None if limit is None else database.now(limit),
    }
    sql.change(item.id, values, statuses=["suspended"])
    return {
        "id": item.id,
        "type": item.type,
        "queue": item.queue,
        "priority": item.priority,
        "parent_id": group.id,
        "workflow_job": item.workflow_job,
        "item": item.item,
    }


def gathered(group: JobPacket) -> Values:
    """How a foreach job ends once all its items have.

    ``stop`` fails if an item did; ``collect`` puts ``{"error": ...}`` in a failed item's place and fails only if all
    did; ``ignore`` puts null there and succeeds.
    """
    items = JobPacket.objects.using(database.database()).filter(parent=group).order_by("item")
    rows = list(items.values_list("item", "status", "result", "error"))
    bad = [(item, error) for item, status, _, error in rows if status != "succeeded"]
    policy = group.config["on_item_failure"]
    if bad and (policy == "stop" or (policy == "collect" and len(bad) == len(rows))):
        return failed(_why(str(group.workflow_job), bad))
    results = [result if status == "succeeded" else _instead(policy, error) for _, status, result, error in rows]
    return {"status": "succeeded", "result": results}


def _why(name: str, bad: Sequence[tuple[Any, Any]]) -> str:
    item, error = next(((item, error) for item, error in bad if error), bad[0])
    return f"item {item} of '{name}' failed: {(error or {}).get('message', 'cancelled')}"


def _instead(policy: str, error: Values | None) -> Any:
    if policy == "ignore":
        return None
    return {"error": {key: (error or {}).get(key) for key in ("code", "message")}}


def failed(message: str) -> Values:
    """The ending of a parent whose children were not what was wanted."""
    return {"status": "failed", "error": lifecycle.error_document(ChildrenFailedError(message))}
