"""Queue drivers that behave as an engine of somebody else's would."""

from __future__ import annotations

import sys
import threading
from typing import ClassVar

from django_ais.queues import BaseQueue


class WithCommand(BaseQueue):
    """Has a worker process of its own: one that says a word and ends with code 7."""

    def worker_command(self, *, concurrency: int) -> list[str]:
        return [sys.executable, "-c", f"print('the engine, {concurrency} at once'); raise SystemExit(7)"]


class WithoutWorker(BaseQueue):
    """Runs jobs elsewhere, in processes that we cannot start."""

    supports_worker: ClassVar[bool] = False


class Breaking(BaseQueue):
    """Whose consumer ends with an error."""

    def _run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        raise RuntimeError("the engine broke")
