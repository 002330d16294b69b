"""Runs each job at once, in the thread that dispatches it, as soon as its row is committed. For tests and small
scripts.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import ClassVar

from django_ais.queues import BaseQueue, QueueMessage

DEEPEST = 10  # jobs inside of jobs; a chain of them would use up the stack


class ImmediateQueue(BaseQueue):
    """No queue at all: ``enqueue`` returns when the jobs have run. What cannot run now is left to a sweep.

    A job that is dispatched inside of ten others runs as soon as the innermost of them has ended.
    """

    supports_worker: ClassVar[bool] = False  # Does `run_worker` start the engine's worker process?
    is_embedded: ClassVar[bool] = True  # Do jobs run in the process that dispatches them?
    is_durable: ClassVar[bool] = False  # Does a message survive a restart of the broker?

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._thread = threading.local()

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        levels: list[deque[str]] = self._thread.__dict__.setdefault("levels", [])
        waiting = deque(message.job_id for message in messages)
        if len(levels) == DEEPEST:
            levels[-1].extend(waiting)
            return
        levels.append(waiting)
        try:
            while waiting:
                self.handler(waiting.popleft())
        finally:
            levels.pop()
