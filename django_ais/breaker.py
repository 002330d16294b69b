"""A circuit breaker: after a few failures in a row an engine is left alone a moment, so that requests stay quick."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAILURES = 3
PAUSE_SECONDS = 2.0  # recovery is the sweep's, which comes by every few seconds


class Breaker:
    """Counts failures in a row. Thread-safe; ``clock`` gives seconds."""

    def __init__(
        self, *, failures: int = FAILURES, pause: float = PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self._lock = threading.Lock()

    def is_open(self) -> bool:
        """Whether the engine is to be left alone now. After the pause one caller is let through to try it."""
        if self._failures < self._most:
            return False
        with self._lock:
            if self._failures < self._most:
                return False
            instant = self._clock()
            if instant < self._until:
                return True
            self._until = instant + self._pause  # the others wait for what this one finds
            return False

    def failed(self, *, at_once: bool = False) -> None:
        """One more failure; with ``at_once`` enough of them."""
        with self._lock:
            self._failures = self._most if at_once else self._failures + 1
            self._until = self._clock() + self._pause

    def succeeded(self) -> None:
        """The engine answers."""
        if self._failures:
            with self._lock:
                self._failures = 0
