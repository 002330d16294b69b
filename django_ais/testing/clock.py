"""A clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django_ais.runtime import database


class FrozenClock:
    """The time of a test; `advance` moves it."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def advance(self, step: timedelta) -> None:
        """Let time pass."""
        self.moment += step


@contextmanager
def frozen_clock(moment: datetime | None = None) -> Iterator[FrozenClock]:
    """Stop the clock that leases, due times and events are measured with, at ``moment`` or now."""
    frozen = FrozenClock(moment or database.moment())
    with database.clock(lambda: frozen.moment):
        yield frozen
