"""Named places where a test may kill this process. Nothing happens unless ``AIS_FAILPOINTS`` is set.

``AIS_FAILPOINTS="after_claim:2"`` sends this process SIGKILL the second time it passes ``after_claim``, after writing
the name as a line to the file that ``AIS_FAILPOINTS_LOG`` names: a crash point that was not seen to fire proves
nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

NAMES = frozenset(
    {
        "before_commit",
        "after_commit_before_announce",
        "after_claim",
        "after_effect_before_record",
        "after_record_before_settle",
        "in_sweep",
        "mid_flush",
    }
)

_lock = threading.Lock()
_left: dict[str, int] = {}
_action: Callable[[str], None] | None = None


def hit(name: str) -> None:
    """Pass a place."""
    if _action is not None:
        _action(name)


def enable(occurrences: dict[str, int], act: Callable[[str], None]) -> None:
    """Call ``act(name)`` the n-th time a named place is passed."""
    global _action
    if unknown := set(occurrences) - NAMES:
        raise ValueError(f"no failpoint named {', '.join(sorted(unknown))}; there are: {', '.join(sorted(NAMES))}")
    _left.clear()
    _left.update(occurrences)

    def passed(name: str) -> None:
        with _lock:
            if name not in _left:
                return
            _left[name] -= 1
            fires = _left[name] == 0
        if fires:
            act(name)

    _action = passed


def disable() -> None:
    """Make every place cost nothing again."""
    global _action
    _action = None


def _kill(name: str) -> None:
    log = os.open(os.environ["AIS_FAILPOINTS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(log, f"{name}\n".encode())
    os.fsync(log)
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # the signal is on its way: do not run one more line


def arm(text: str) -> None:
    """Kill this process at places given as ``name:n,...``; the first time where no number is given."""
    parts = (part.partition(":") for part in text.split(","))
    enable({name: int(count or 1) for name, _, count in parts}, _kill)


if os.environ.get("AIS_FAILPOINTS"):
    arm(os.environ["AIS_FAILPOINTS"])
