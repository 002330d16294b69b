"""LangGraph with PostgresSaver: a graph of ten no-op nodes in a row, a checkpoint after each.

With durability ``sync`` a checkpoint is written before the next node begins, as our steps are; with ``async``, its
default, it is written while the next node runs, so a crash may lose it. One autocommitting connection, prepared
statements from the first use, as its own documentation has it.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import sys
from functools import cache
from typing import Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, StateGraph

from tests.benchmarks.peers import serving


class State(TypedDict):
    """What the nodes hand on."""

    total: int


def main() -> None:
    """The client."""
    with PostgresSaver.from_conn_string(serving.address("peer_langgraph")) as saver:
        saver.setup()

        @cache
        def graph(each: int) -> Any:
            return _chain(each).compile(checkpointer=saver)

        serving.serve(steps=lambda workflows, each: _steps(graph(each), workflows))


def _chain(each: int) -> Any:
    builder = StateGraph(State)
    before = START
    for number in range(each):
        builder.add_node(f"step-{number}", lambda state, number=number: {"total": state["total"] + number})
        builder.add_edge(before, f"step-{number}")
        before = f"step-{number}"
    return builder


def _steps(graph: Any, workflows: int) -> dict[str, Any]:
    durability = sys.argv[1]

    def workflow() -> None:
        graph.invoke({"total": 0}, {"configurable": {"thread_id": str(uuid4())}}, durability=durability)

    return serving.steps(workflow, workflows)
