"""``run.py bench streaming``: a bus and its subscribers, emit to client by bus, idle followers, many jobs that talk.

What is started for it, and for `tests.benchmarks.sse`, is here too. Servers are uvicorn with one process each, and are
told through a FIFO what to say (`speech`); listeners and subscribers are processes of their own (`hearing`).
``AIS_BENCH_PARTS=topic,idle`` measures these alone.
"""

from __future__ import annotations

import os

from tests.benchmarks.measuring import Site


def run(site: Site) -> None:
    """All four parts, on one Redis and one NATS."""
    from tests.benchmarks.brokers import brokers
    from tests.benchmarks.streaming import crowd, emitting, idle, topic
    from tests.benchmarks.streaming.buses import main_bus

    chosen = os.environ.get("AIS_BENCH_PARTS", "topic,emitting,idle,crowd").split(",")
    with brokers() as missing:
        if "topic" in chosen:
            topic.run(site, missing)
        if "emitting" in chosen:
            emitting.run(site, missing)
        if "idle" in chosen:
            idle.run(site, main_bus(missing))
        if "crowd" in chosen:
            crowd.run(site, main_bus(missing))
