"""Recorded steps: jobs of ten no-op steps, one after another in one thread."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.benchmarks.measuring import Site, Table, median
from tests.benchmarks.peers import rows as peers
from tests.benchmarks.rounds import Figures, Row, interleave

WORKFLOWS, EACH = 100, 10


def run(site: Site) -> None:
    """Inline, as the peers run: steps a second, milliseconds a workflow, writing transactions a step."""
    interleave(site, Table("ten recorded steps"), list(_rows(site, site.count(WORKFLOWS))), rate="steps/s")


def _rows(site: Site, count: int) -> Iterator[Row]:
    if site.postmaster is not None:
        yield Row("bare loop: one row a step", lambda: _bare(count), "floor")
    yield Row("django-ais, inline", lambda: _inline(site, count), "ours")
    yield from peers.steps(site, count, EACH)


def _bare(count: int) -> Figures:
    from tests.benchmarks import bare

    return {"steps/s": bare.steps(count, EACH)}


def _inline(site: Site, count: int) -> Figures:
    from django.test import override_settings

    from django_ais import jobs
    from tests import settings

    with override_settings(DJANGO_AIS={**settings.DJANGO_AIS, "QUEUES": {"default": "immediate"}}):
        for _ in range(5):
            jobs.dispatch("bench.steps", EACH)
        cpu, xids, begun = site.cpu(), site.transactions(), time.perf_counter()
        took = []
        for _ in range(count):
            once = time.perf_counter()
            jobs.dispatch("bench.steps", EACH)
            took.append((time.perf_counter() - once) * 1000)
        seconds = time.perf_counter() - begun
    return {
        "steps/s": count * EACH / seconds,
        "p50 ms/workflow": median(took),
        "xids/step": (site.transactions() - xids) / count / EACH,
        "CPU us/step": (site.cpu() - cpu) / count / EACH * 1e6,
    }
