"""Jobs that stream text of their own, at a pace of their own; the test's process runs them in threads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

WORDS = "ä zwölf \U0001f600 line\nbreak carriage\rreturn data: id: \u2028 \"quoted\" {json} plain words of a text".split(" ")


def text_of(seed: int, pieces: int) -> list[str]:
    """The pieces of a run's text."""
    chosen = random.Random(seed)
    return [f"{place}:{' '.join(chosen.choices(WORDS, k=4))} " for place in range(pieces)]


def streaming(seconds_between: float) -> Callable[[Any], Any]:
    """A worker's ``run`` that says the text its payload describes, with pauses, in two voices and with a log."""

    def run(job: Any) -> Any:
        chosen = random.Random(job.payload["seed"])
        for place, piece in enumerate(text_of(job.payload["seed"], job.payload["pieces"])):
            job.emit("message.delta", message="m", text=piece)
            if place % 17 == 0:
                job.log(f"piece {place}")
            time.sleep(seconds_between * chosen.uniform(0.2, 1.8))  # the pace of a model is what this test needs
        return job.payload["pieces"]

    return run


def text_in(events: list[dict[str, Any]]) -> str:
    """The text that a follower has read."""
    return "".join(event["data"]["text"] for event in events if event["type"] == "message.delta")
