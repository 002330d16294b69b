"""Threads of the process that dispatches. For development and small sites: no broker, no second process.

Messages live in memory: when the process ends, the rows wait for a sweep of the next one. Jobs that run at its end are
waited for, up to ``drain_seconds``.
"""

from __future__ import annotations

import atexit
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from django_ais.queues import PullQueue, QueueMessage

_ending = threading.Event()  # the rows of what comes now wait for a sweep of the next process


def _at_exit(work: Callable[[], None]) -> None:
    """Call ``work`` when the process ends, while threads can still be started.

    At the time of `atexit` the executors are shut down that ``asyncio.to_thread`` needs, and a running job would fail;
    so the place that `concurrent.futures` itself uses is taken, which is not public.
    """
    getattr(threading, "_register_atexit", atexit.register)(work)


class MemoryOptions(BaseModel):
    """``threads`` run jobs side by side; the process waits ``drain_seconds`` for them when it ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(default=4, ge=1)
    drain_seconds: float = Field(default=10.0, ge=0)


@dataclass(order=True)
class Waiting:
    """A message in its order: due time, priority, age."""

    due: float
    rank: tuple[int, int]
    job_id: str = field(compare=False)


class MemoryQueue(PullQueue):
    """An ordered list in memory, consumed by threads that start with the first message."""

    options_class = MemoryOptions

    supports_run_after: ClassVar[bool] = True  # Can the engine hold a message back until a time?
    supports_priority: ClassVar[bool] = True  # Does a higher priority overtake?
    supports_bulk: ClassVar[bool] = True  # Is a batch one round trip?
    supports_depth: ClassVar[bool] = True  # Can the engine say how many messages wait?
    is_embedded: ClassVar[bool] = True  # Do jobs run in the process that dispatches them?
    is_durable: ClassVar[bool] = False  # Does a message survive a restart of the broker?
    confirms_enqueue: ClassVar[bool] = True  # Does the broker acknowledge the write?

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._ready: list[Waiting] = []
        self._held: list[Waiting] = []
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._consumer: threading.Thread | None = None
        self._pid = 0
        self._interrupted = False

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        with self._changed:
            for message in messages:
                self._put(message.job_id, message.priority, _delay(message.run_after))
            self._changed.notify_all()
        self._start()

    def _put(self, job_id: str, priority: int, delay: float) -> None:
        waiting = Waiting(time.monotonic() + delay, (-priority, next(self._numbers)), job_id)
        if delay > 0:
            heapq.heappush(self._held, waiting)
        else:
            waiting.due = 0.0
            heapq.heappush(self._ready, waiting)

    def _end(self) -> None:
        """The process ends: wait for the jobs that run, and begin no other, here or in another instance."""
        _ending.set()
        self.close()

    def _start(self) -> None:
        """Begin to consume in this process, unless a worker process does so already, or the process ends."""
        with self._changed:
            if self._pid == os.getpid() or _ending.is_set():
                return
            self._pid = os.getpid()
            self._stop = threading.Event()
            self._consumer = threading.Thread(
                target=self._consume, args=(self._stop,), name=f"ais-{self.alias}", daemon=True
            )
        self._consumer.start()
        _at_exit(self._end)

    def _consume(self, stop: threading.Event) -> None:
        super()._run_worker(concurrency=self.options.threads, stop=stop)

    def _run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        self._pid = os.getpid()
        return super()._run_worker(concurrency=concurrency, stop=stop)

    def _reserve(self, *, limit: int, timeout: float) -> Sequence[Taken]:
        end = time.monotonic() + timeout
        with self._changed:
            while not self._interrupted:
                self._release_due()
                if self._ready:
                    count = min(limit, len(self._ready))
                    return [Taken(self, heapq.heappop(self._ready).job_id) for _ in range(count)]
                wait = min([end, *(waiting.due for waiting in self._held[:1])]) - time.monotonic()
                if time.monotonic() >= end or self._stop.is_set():
                    return []
                self._changed.wait(max(wait, 0))
            self._interrupted = False
            return []

    def _interrupt(self) -> None:
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    def _release_due(self) -> None:
        while self._held and self._held[0].due <= time.monotonic():
            waiting = heapq.heappop(self._held)
            waiting.due = 0.0
            heapq.heappush(self._ready, waiting)

    def again(self, job_id: str, delay: float) -> None:
        """Deliver a job again after ``delay`` seconds."""
        with self._changed:
            self._put(job_id, 0, delay)
            self._changed.notify_all()

    def depth(self) -> int:
        """How many messages wait in this process."""
        with self._changed:
            return len(self._ready) + len(self._held)

    def close(self) -> None:
        """Stop consuming; wait for the jobs that run."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
            consumer, self._consumer, self._pid = self._consumer, None, 0
        if consumer is not None and consumer is not threading.current_thread():
            consumer.join(self.options.drain_seconds)


def _delay(due: datetime | None) -> float:
    if due is None:
        return 0.0
    return max((due - datetime.now(due.tzinfo)).total_seconds(), 0.0)


@dataclass
class Taken:
    """A message that a thread holds."""

    queue: MemoryQueue
    job_id: str

    def ack(self) -> None:
        """Done: nothing is left of it."""

    def nack(self, delay: float) -> None:
        """Deliver it again."""
        self.queue.again(self.job_id, delay)

    def reject(self) -> None:
        """Drop it."""

    def touch(self) -> None:
        """Nobody else could take it."""
