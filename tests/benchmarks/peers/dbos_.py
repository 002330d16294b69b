"""DBOS in process: a workflow of ten no-op steps, each recorded before the next begins.

Tuned: no telemetry, no logging below errors, one kept connection for each thread that it uses.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

from typing import Any

from dbos import DBOS

from tests.benchmarks.peers import serving


@DBOS.step()
def step(number: int) -> int:
    return number


@DBOS.workflow()
def workflow(each: int) -> int:
    return sum(step(number) for number in range(each))


def main() -> None:
    """The client."""
    parts = dict(part.split("=") for part in serving.address("peer_dbos").split())
    url = f"postgresql://{parts['user']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
    DBOS(config={"name": "peer", "system_database_url": url, "log_level": "ERROR", "enable_otlp": False})
    DBOS.launch()
    try:
        serving.serve(steps=_steps)
    finally:
        DBOS.destroy()


def _steps(workflows: int, each: int) -> dict[str, Any]:
    return serving.steps(lambda: workflow(each), workflows)
