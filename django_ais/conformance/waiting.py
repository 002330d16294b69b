"""Wait for what another process does. It cannot tell us, so we look; never longer than until it is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY = 0.02  # seconds

T = TypeVar("T")


def until(question: Callable[[], T], *, what: str, seconds: float = 30.0) -> T:
    """Ask until the answer is true and return it. Raises AssertionError that names ``what`` was waited for."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(LOOK_EVERY)
    return answer


def never(question: Callable[[], object], *, what: str, seconds: float) -> None:
    """Look for so long; raises AssertionError as soon as the answer is true. For what must not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if question():
            raise AssertionError(what)
        time.sleep(LOOK_EVERY)
