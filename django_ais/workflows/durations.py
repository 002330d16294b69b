"""Durations as people write them: a number of seconds, or ``500ms``, ``30s``, ``5m``, ``2h``, ``1d``."""

from __future__ import annotations

import re

LONGEST_SECONDS = 3_650 * 86_400.0  # ten years: beyond it, due times leave the range of a database's timestamp
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")


def parse_duration(value: object, *, may_be_zero: bool = False) -> float | None:
    """Seconds, or ``None`` where ``value`` is no duration: not of this form, negative, or longer than ten years.

    Zero is one only where ``may_be_zero`` says so.
    """
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds <= LONGEST_SECONDS or (seconds == 0 and not may_be_zero):
        return None
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return round(float(match[1]) * _SECONDS[match[2]], 6) if match else None
