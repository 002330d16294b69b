"""Wait for something that another process does. It cannot tell us, so we look; never longer than until it is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY = 0.02  # seconds

T = TypeVar("T")


def until(question: Callable[[], T], *, what: str, seconds: float = 30.0) -> T:
    """Ask until the answer is true and return it. Raises TimeoutError that names ``what`` was waited for."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(LOOK_EVERY)
    return answer
