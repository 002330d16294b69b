"""Workers that the benchmarks measure."""

from __future__ import annotations

import time
from typing import Any

from django_ais import registry
from django_ais.workers import BaseWorker, Child


@registry.register("bench.clock")
class Clock(BaseWorker):
    """Returns the time at which it began."""

    def run(self, job: Any) -> float:
        return time.time()


@registry.register("bench.steps")
class Steps(BaseWorker):
    """As many recorded steps as it is told."""

    def run(self, job: Any) -> int:
        return sum(job.step(f"step-{number}", int, number) for number in range(job.payload))


@registry.register("bench.fan")
class Fan(BaseWorker):
    """As many children as it is told."""

    def run(self, job: Any) -> int:
        return int(job.payload)

    def route(self, job: Any, result: int) -> list[Child]:
        return [Child(type="echo", payload=number) for number in range(result)]


@registry.register("bench.talk")
class Talk(BaseWorker):
    """Says so many deltas a second for so many seconds."""

    def run(self, job: Any) -> None:
        pause = 1 / job.payload["per_second"]
        for number in range(int(job.payload["seconds"] * job.payload["per_second"])):
            job.emit("message.delta", message="talk", text=f"word {number} ")
            time.sleep(pause)
