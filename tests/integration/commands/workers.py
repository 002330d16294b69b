"""A job whose length a test decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django_ais import registry
from django_ais.workers import BaseWorker


@registry.register("gated")
class Gated(BaseWorker):
    """Says that it has begun and waits at a gate; both are named pipes."""

    def run(self, job: Any) -> Any:
        Path(job.payload["entered"]).write_text("entered\n")
        with Path(job.payload["gate"]).open() as gate:
            gate.readline()
        return "went through"
