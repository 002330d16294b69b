"""Workers that the benchmarks measure."""

from __future__ import annotations

import time
from typing import Any

from django_ais import registry
from django_ais.workers import BaseWorker, Child
from tests.benchmarks.peers import clock
from tests.benchmarks.streaming.speech import paced, speak


@registry.register("bench.clock")
class Clock(BaseWorker):
    """Returns the time at which it began."""

    def run(self, job: Any) -> float:
        return time.time()


@registry.register("bench.tell")
class Tell(BaseWorker):
    """Tells the time at which it began through a FIFO."""

    def run(self, job: Any) -> None:
        clock.tell()


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
    """Says so many deltas a second for so many seconds, and returns how many it could say in that time."""

    def run(self, job: Any) -> int:
        seconds, per_second = job.payload["seconds"], job.payload["per_second"]
        said = 0
        for number in paced(int(seconds * per_second), per_second, seconds=seconds):
            job.emit("message.delta", message="talk", text=word(number))
            said += 1
        return said


def word(number: int) -> str:
    """What is said first, second, ..."""
    return f"word {number} "


@registry.register("bench.speak")
class Speak(BaseWorker):
    """Says what it is told through a FIFO; each text is an event of its own."""

    def run(self, job: Any) -> None:
        speak(job.payload["gate"], lambda number, text: job.emit("message.delta", message=f"m{number}", text=text))
