"""Chance, where many that did one thing together must not do the next together.

Drawn from the system, not from `random`'s shared generator: a project that seeds that one (tests, simulations) would
otherwise have every process wait alike, and would find its own numbers used up by our threads.
"""

from __future__ import annotations

from secrets import SystemRandom

_SYSTEM = SystemRandom()  # without a state: nothing to seed, and nothing that a fork could double


def between(low: float, high: float) -> float:
    """A number from ``low`` to ``high``, each as likely as any other."""
    return _SYSTEM.uniform(low, high)
