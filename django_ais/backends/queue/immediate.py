"""Runs each job at once, in the thread that dispatches it, as soon as its row is committed. For tests and small
scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django_ais.queues import BaseQueue, QueueMessage


class ImmediateQueue(BaseQueue):
    """No queue at all: ``enqueue`` returns when the jobs have run. What cannot run now is left to a sweep."""

    supports_worker: ClassVar[bool] = False  # Does `run_worker` start the engine's worker process?
    is_embedded: ClassVar[bool] = True  # Do jobs run in the process that dispatches them?
    is_durable: ClassVar[bool] = False  # Does a message survive a restart of the broker?

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        for message in messages:
            self.handler(message.job_id)
