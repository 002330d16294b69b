"""How long one attempt may take, and how long it may be silent. For a single call, by the monotonic clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from django_ais.exceptions import GatewayError
from django_ais.gateways.assembly import END, Yielded
from django_ais.gateways.requests import Timeouts
from django_ais.gateways.responses import Timings


class Patience:
    """Pulls a driver's stream and gives up in time, also on a stream that drips.

    Gives up by cancelling the pull, so the driver's ``finally`` blocks run. Raises `GatewayError` with code
    ``timeout``: retryable for silence and for the attempt, permanent when the whole job's ``deadline`` (in seconds)
    is over.
    """

    def __init__(self, timeouts: Timeouts, *, deadline: float | None, watches_silence: bool, label: str) -> None:
        self._timeouts = timeouts
        self._deadline = deadline
        self._watches_silence = watches_silence
        self._label = label
        self._began = time.monotonic()
        self._first_event: float | None = None

    async def next(self, pieces: AsyncIterator[Yielded]) -> Yielded:
        """The driver's next piece, or `END`."""
        seconds, what = self._tightest()
        if seconds <= 0:
            raise self._timed_out(what)
        try:
            async with asyncio.timeout(None if seconds == float("inf") else seconds) as limit:
                piece = await anext(pieces, END)
        except TimeoutError:
            if limit.expired():
                raise self._timed_out(what) from None
            raise
        if self._first_event is None:
            self._first_event = self._elapsed()
        return piece

    def timings(self) -> Timings:
        """Seconds until the first piece and until now."""
        return Timings(first_event=self._first_event or 0.0, total=self._elapsed())

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _tightest(self) -> tuple[float, str]:
        """The limit that ends first: seconds from now, and its name."""
        elapsed = self._elapsed()
        limits = []
        if self._deadline is not None:
            limits.append((self._deadline - elapsed, "total"))
        if self._timeouts.attempt is not None:
            limits.append((self._timeouts.attempt - elapsed, "attempt"))
        silence = self._timeouts.first_event if self._first_event is None else self._timeouts.idle
        if self._watches_silence and silence is not None:
            limits.append((silence, "first event" if self._first_event is None else "idle"))
        return min(limits, default=(float("inf"), ""))

    def _timed_out(self, what: str) -> GatewayError:
        return GatewayError(
            f"{self._label} ran out of time ({what}) after {self._elapsed():.1f} s",
            code="timeout",
            retryable=what != "total",
            safe_message=f"timeout ({what})",
        )
