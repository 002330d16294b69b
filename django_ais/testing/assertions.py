"""What a run has come to, as plain values to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_ais.models import AgentEvent, JobPacket
from django_ais.runtime import database


def run_tree(root: JobPacket) -> dict[str, Any]:
    """A run's statuses: workflow job (``split``), item (``summarise/0``) or type by position → status."""
    rows = (
        JobPacket.objects.using(database.database()).filter(root=root.root_id).order_by("depth", "item", "created_at")
    )
    tree: dict[str, Any] = {}
    for row in rows:
        name = row.workflow_job or row.type
        if row.item is not None and row.workflow_job is not None:
            name = f"{name}/{row.item}"
        while name in tree:
            name += "'"
        tree[name] = row.status
    return tree


def assert_run_tree(root: JobPacket, expected: dict[str, str]) -> None:
    """The named jobs of a run have these statuses; jobs that are not named may have any."""
    found = run_tree(root)
    actual = {name: found.get(name, "there is no such job") for name in expected}
    assert actual == expected, f"{actual} is not {expected}; the run has {found}"  # noqa: S101


def assert_events(root: JobPacket, expected: Sequence[str], *, job: JobPacket | None = None) -> None:
    """These event types were committed in this order, others between them allowed; numbers have no hole."""
    rows = AgentEvent.objects.using(database.database()).filter(root=root.root_id).order_by("seq")
    numbers = list(rows.values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1)), f"event numbers have a hole: {numbers}"  # noqa: S101
    types = list((rows.filter(job=job) if job is not None else rows).values_list("type", flat=True))
    rest = iter(types)
    missing = next((wanted for wanted in expected if wanted not in rest), None)
    assert missing is None, f"no {missing} in its place among {types}"  # noqa: S101
