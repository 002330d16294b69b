"""What a server says when it is told: texts that carry the moment at which they were said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

MARK = b"~"  # once in every text, and nowhere else in a frame
PADDING = "and so on, as a model would say it, a few words at a time"

Say = Callable[[int, str], object]


def text() -> str:
    """A text of now."""
    return f"{MARK.decode()}{time.time():.6f} {PADDING}"


def said_at(text: str) -> float:
    """When a text was said."""
    return float(text[len(MARK) : text.index(" ")])


def paced(count: int, per_second: float, *, seconds: float = float("inf")) -> Iterator[int]:
    """Places from 0, each when it is due, until all were given or the time is over; 0 a second is as fast as can be."""
    begun = time.monotonic()
    for place in range(count):
        if per_second:
            time.sleep(max(begun + place / per_second - time.monotonic(), 0))
        if time.monotonic() - begun > seconds:
            return
        yield place


def speak(gate: str, say: Say) -> None:
    """Read lines ``COUNT PER_SECOND`` from a FIFO until its writer closes it."""
    number = 0
    with open(gate) as lines:  # noqa: PTH123 (a FIFO is read as it comes)
        for line in lines:
            count, per_second = map(int, line.split())
            for _ in paced(count, per_second):
                number += 1
                say(number, text())
