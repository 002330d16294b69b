"""The one thread of a process that talks to a broker for whoever sends.

So a broker that hangs holds nobody longer than a timeout, and RabbitMQ has one connection a process, not one a thread.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from django_ais.exceptions import QueueError

STUCK_SECONDS = 30.0  # a thread that is busy with one piece of work for so long is given up
IDLE_SECONDS = 10.0  # an idle thread calls ``idle`` this often

T = TypeVar("T")
Work = tuple[Callable[[], Any], "Future[Any]"]


class Sender:
    """Does pieces of work in their order, in a daemon thread that starts with the first. Thread-safe.

    ``idle`` is called between them now and then; what it raises is dropped.
    """

    def __init__(self, alias: str, idle: Callable[[], object]) -> None:
        self._alias = alias
        self._idle = idle
        self._lock = threading.Lock()
        self._works: SimpleQueue[Work | None] | None = None
        self._busy_since = float("inf")

    def call(self, work: Callable[[], T], *, timeout: float) -> T:
        """Do some work, and return or raise what it does. After ``timeout`` seconds raise `QueueError`: ``rejected`` if
        it was not begun and never will be, else ``unknown``, and it may still go on.
        """
        future: Future[T] = Future()
        self._running().put((work, future))
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the work's own
            outcome = "rejected" if future.cancel() else "unknown"
            raise QueueError(
                f"queue '{self._alias}': the broker did not answer within {timeout:g} s",
                outcome=outcome,  # type: ignore[arg-type]
            ) from None

    def close(self, last: Callable[[], object], *, timeout: float = 2.0) -> None:
        """Do a last piece of work and end the thread; wait for it, but not long."""
        with self._lock:
            works, self._works = self._works, None
        if works is not None:
            future: Future[object] = Future()
            works.put((last, future))
            works.put(None)
            with suppress(Exception):
                future.result(timeout)

    def _running(self) -> SimpleQueue[Work | None]:
        with self._lock:
            if self._works is None or time.monotonic() - self._busy_since > STUCK_SECONDS:
                if self._works is not None:
                    self._works.put(None)  # to end, should the broker ever answer
                self._works = SimpleQueue()
                self._busy_since = float("inf")
                threading.Thread(
                    target=self._run, args=(self._works,), name=f"ais-{self._alias}-sender", daemon=True
                ).start()
            return self._works

    def _run(self, works: SimpleQueue[Work | None]) -> None:
        while True:
            try:
                item = works.get(timeout=IDLE_SECONDS)
            except Empty:
                with suppress(Exception):  # the next who sends meets it again, and hears of it
                    self._idle()
                continue
            if item is None:
                return
            self._busy_since = time.monotonic()
            self._do(*item)
            self._busy_since = float("inf")

    def _do(self, work: Callable[[], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            close_database()
            future.set_exception(error)
        else:
            close_database()
            future.set_result(answer)


def close_database() -> None:
    """Close this thread's database connections: middleware of the project's may have opened some."""
    if (database := sys.modules.get("django.db")) is not None:
        database.connections.close_all()
