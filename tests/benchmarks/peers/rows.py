"""Rows of the peers for our tables: what they say of themselves, and the clocks that are read from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from tests.benchmarks.measuring import Site, percentile
from tests.benchmarks.peers import FAN, IDLE, QUEUES, STEPS, Client, Peer
from tests.benchmarks.rounds import Figures, Row


def noop(site: Site, count: int) -> Iterator[Row]:
    """No-op jobs through a queue."""
    return _rows(site, QUEUES, lambda client: _noop(site, client, count))


def steps(site: Site, workflows: int, each: int) -> Iterator[Row]:
    """Recorded steps, inline."""
    return _rows(site, STEPS, lambda client: _steps(site, client, workflows, each))


def fan(site: Site, children: int) -> Iterator[Row]:
    """One with many children, and a join."""
    return _rows(site, FAN, lambda client: _fan(site, client, children))


def idle(site: Site, count: int) -> Iterator[Row]:
    """Dispatch to start on an idle system, and what idling costs."""
    return _rows(site, IDLE, lambda client: _idle(site, client, count))


def _rows(site: Site, peers: Sequence[Peer], measure: Callable[[Client], Figures]) -> Iterator[Row]:
    for peer in peers if site.peers else ():
        if peer.missing:
            yield Row(f"{peer.name}, {peer.tuning}", dict, "peer", peer.name, peer.missing)
        else:
            yield Row(peer.label, lambda peer=peer: _started(peer, measure), "peer", peer.name)  # type: ignore[misc]


def _started(peer: Peer, measure: Callable[[Client], Figures]) -> Figures:
    with peer.started() as client:
        return measure(client)


def _watched(site: Site, client: Client, *question: Any) -> tuple[dict[str, Any], float, int]:
    """What it answers, the processor seconds and the writing transactions in between."""
    cpu, xids = site.cpu(client.pids), site.transactions()
    said = client.ask(*question)
    return said, site.cpu(client.pids) - cpu, site.transactions() - xids


def _noop(site: Site, client: Client, count: int) -> Figures:
    client.ask("noop", 20)
    said, cpu, xids = _watched(site, client, "noop", count)
    return {
        "jobs/s": count / said["seconds"],
        "dispatch us": said["dispatched"] / count * 1e6,
        "CPU us/job": cpu / count * 1e6,
        "xids/job": xids / count,
    }


def _steps(site: Site, client: Client, workflows: int, each: int) -> Figures:
    client.ask("steps", 5, each)
    said, cpu, xids = _watched(site, client, "steps", workflows, each)
    return {
        "steps/s": workflows * each / said["seconds"],
        "p50 ms/workflow": median(said["took"]),
        "xids/step": xids / workflows / each,
        "CPU us/step": cpu / workflows / each * 1e6,
    }


def _fan(site: Site, client: Client, children: int) -> Figures:
    client.ask("fan", 20)
    said, cpu, _ = _watched(site, client, "fan", children)
    return {
        "s": said["seconds"],
        "children/s": children / said["seconds"],
        "CPU us/child": cpu / children * 1e6,
    }


def _idle(site: Site, client: Client, count: int) -> Figures:
    client.ask("idle", 10)
    waits = client.ask("idle", count)["waits"]
    cpu, begun = site.cpu(client.pids), time.perf_counter()
    time.sleep(10 * site.scale)
    used = (site.cpu(client.pids) - cpu) / (time.perf_counter() - begun) * 100
    return {"p50 ms": percentile(waits, 0.5), "p99 ms": percentile(waits, 0.99), "idle CPU %": used}
