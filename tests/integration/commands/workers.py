"""A job whose length a test decides."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django_ais import registry
from django_ais.workers import BaseWorker


@registry.register("gated")
class Gated(BaseWorker):
    """Draws a word in a step, says that it has come to the gate and waits there; both ends are named pipes."""

    def run(self, job: Any) -> Any:
        word = job.step("draw", secrets.token_hex)
        Path(job.payload["entered"]).write_text("entered\n")
        with Path(job.payload["gate"]).open() as gate:
            gate.readline()
        return word
