"""Recorded steps: jobs of ten no-op steps, one after another in one thread."""

from __future__ import annotations

import time

from tests.benchmarks.measuring import Site, Table, median

WORKFLOWS, EACH = 100, 10


def run(site: Site) -> None:
    """Inline, as the peers run: steps a second, milliseconds a workflow, writing transactions a step."""
    from django.test import override_settings

    from django_ais import jobs
    from tests import settings

    table = Table("ten recorded steps")
    count = site.count(WORKFLOWS)
    floor = 0.0
    if site.postmaster is not None:
        from tests.benchmarks import bare

        floor = bare.steps(count, EACH)
        table.add("bare loop: one row a step", **{"steps/s": floor})
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
    figures = {
        "steps/s": count * EACH / seconds,
        "p50 ms/workflow": median(took),
        "xids/step": (site.transactions() - xids) / count / EACH,
        "CPU us/step": (site.cpu() - cpu) / count / EACH * 1e6,
    }
    if floor:
        figures["of the bare loop"] = figures["steps/s"] / floor
    table.add("django-ais, inline", **figures)
