"""The bus drivers that are measured, on private servers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.measuring import Site

MAIN = "redis"  # what peers are held against


@dataclass(frozen=True)
class Bus:
    """A driver with its settings. ``server``: the broker that it needs."""

    backend: str
    server: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """As in ``BUSES``."""
        return {"BACKEND": self.backend, "OPTIONS": dict(self.options)}

    def missing_for(self, site: Site) -> str:
        """Why it cannot be measured beside this database, or nothing."""
        return "not run: needs --db postgres" if self.backend == "postgres" and site.postmaster is None else ""


def buses() -> dict[str, Bus]:
    """All of them by name, with the addresses of the brokers that are there."""
    redis, nats = os.environ.get("AIS_BENCH_REDIS", ""), os.environ.get("AIS_BENCH_NATS", "")
    all_of_them = (
        Bus("memory"),
        Bus("database"),
        Bus("redis", "redis", {"url": redis}),
        Bus("nats", "nats", {"url": nats}),
        Bus("postgres"),
        Bus("channels", "redis"),
    )
    return {bus.backend: bus for bus in all_of_them}


def main_bus(missing: Mapping[str, str]) -> dict[str, Any]:
    """The settings of the one whose figures matter most; of the database's where its broker is missing."""
    return buses()["database" if "redis" in missing else MAIN].settings
