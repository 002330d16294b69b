"""Rows measured in turns, round after round, so that a noisy minute falls on all of them; their medians.

A ratio is taken within each round, then the median of the rounds' ratios is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.measuring import Site, Table

Figures = dict[str, float]
MORE_IS_BETTER = ("/s", "delivered %")


@dataclass(frozen=True)
class Row:
    """Something to measure. ``role``: ``floor``, ``ours`` (what peers are held against), ``peer``, or none."""

    what: str
    measure: Callable[[], Figures]
    role: str = ""
    name: str = ""
    missing: str = ""


def interleave(
    site: Site, table: Table, rows: Sequence[Row], *, rate: str, best: str = "best durable peer / ours"
) -> dict[str, list[Figures]]:
    """Measure every row once a round; print medians, ``rate`` against the bare loop's, and under ``best`` the peers
    against ours. Return each row's figures of all rounds.
    """
    present = [row for row in rows if not row.missing]
    taken: dict[str, list[Figures]] = {row.what: [] for row in present}
    if site.rounds > 1:
        table.title += f" (medians of {site.rounds} rounds)"
    for left in reversed(range(site.rounds)):
        for row in present:
            taken[row.what].append(row.measure())
            if not left:
                _print(table, row, taken, [other for other in present if other.role == "floor"], rate)
    for row in rows:
        if row.missing:
            table.add(row.what, says=row.missing)
    _print_best(table, present, taken, best)
    return taken


def _print(table: Table, row: Row, taken: dict[str, list[Figures]], floors: list[Row], rate: str) -> None:
    figures = {name: median(once[name] for once in taken[row.what]) for name in taken[row.what][0]}
    for floor in floors:
        if floor is not row and rate in figures:
            figures["of the bare loop"] = ratio(taken[row.what], taken[floor.what], rate)
    if len(taken[row.what]) > 1:
        first = [next(iter(once.values())) for once in taken[row.what]]
        figures["spread %"] = (max(first) - min(first)) / median(first) * 100
    table.add(row.what, **figures)


def _print_best(table: Table, rows: Sequence[Row], taken: dict[str, list[Figures]], what_is_best: str) -> None:
    """For each figure the peer that is best at it, divided by ours."""
    ours = [row for row in rows if row.role == "ours"]
    peers = [row for row in rows if row.role == "peer"]
    if not ours or not peers:
        return
    best = {}
    for figure in taken[ours[0].what][0]:
        if not any(once[figure] for once in taken[ours[0].what]):
            continue  # none of ours: there is nothing to divide by
        ratios = {
            row.what: ratio(taken[row.what], taken[ours[0].what], figure) for row in peers if _has(row, taken, figure)
        }
        if ratios:
            what = (max if figure.endswith(MORE_IS_BETTER) else min)(ratios, key=lambda what: ratios[what])
            best[figure] = f"{ratios[what]:.2f} ({next(row.name for row in peers if row.what == what)})"
    table.add(what_is_best, **best)


def _has(row: Row, taken: dict[str, list[Figures]], figure: str) -> bool:
    return figure in taken[row.what][0]


def ratio(these: list[Figures], those: list[Figures], figure: str) -> float:
    """Of each round, then the median; where ours is nothing at all, the clock was too coarse."""
    pairs = zip(these, those, strict=False)
    return median(this[figure] / that[figure] if that[figure] else float("nan") for this, that in pairs)
