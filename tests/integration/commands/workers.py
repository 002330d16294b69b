"""A job whose length a test decides."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django_ais import registry
from django_ais.workers import BaseWorker


@registry.register("gated")
class Gated(BaseWorker):
    """Draws a word in a step, says that it has come to the gate and waits there; both ends are named pipes."""

    def run(self, job: Any) -> Any:
        word = job.step("draw", secrets.token_hex)
        with ThreadPoolExecutor(
            1
        ) as pool:  # as much async code does; the interpreter would wait for its thread at exit
            pool.submit(stand, job.payload).result()
        return word


def stand(payload: dict[str, str]) -> None:
    """Come to the gate, and wait until it lets one through."""
    Path(payload["entered"]).write_text("entered\n")
    with Path(payload["gate"]).open() as gate:
        gate.readline()
