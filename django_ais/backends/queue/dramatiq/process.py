"""A worker process of dramatiq, tied to the core: it sweeps, drains and leaves in time."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import dramatiq
from dramatiq.middleware import MiddlewareError

from django_ais.backends.queue.dramatiq.brokers import is_own
from django_ais.backends.queue.dramatiq.sending import close_database
from django_ais.exceptions import AisError
from django_ais.queues import Host

logger = logging.getLogger("django_ais.queues")

WORKER_TIMEOUT_MS = 100  # an idle process looks at Redis this often; dramatiq's own 1,000 are 243 ms of median latency
LAST_SECONDS = 5.0  # beyond the drain's, for the process to end by itself
FLUSH_SECONDS = 0.5  # ... where it will not, for its last words

_hand = threading.local()


def message_in_hand() -> Any:
    """The message that this worker thread processes."""
    return _hand.message


class ProcessLife(dramatiq.Middleware):
    """Begins and ends the core's side of a worker process, and knows which message a thread has in hand.

    ``host`` gives the core's side, if there is one; ``actors`` are the names that are ours.
    """

    def __init__(self, host: Callable[[], Host | None]) -> None:
        self._host = host
        self._handed_back = 0
        self.actors: set[str] = set()

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        """Begin to sweep. Raises MiddlewareError, which ends the process, in one that cannot run jobs."""
        if is_own(broker):
            worker.worker_timeout = WORKER_TIMEOUT_MS
            worker.queue_prefetch = worker.worker_threads  # nothing waits in a busy process while another is idle
        try:
            if (host := self._host()) is not None:
                host.start()
        except AisError as error:
            raise MiddlewareError(str(error)) from error

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Remember the message."""
        _hand.message = message

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Keep a message of ours among the dead letters that ended in an error: without Retries it would be acked."""
        if exception is not None and message.actor_name in self.actors:
            message.fail()

    def before_worker_thread_shutdown(self, broker: Any, thread: Any) -> None:
        """Close the thread's database connections."""
        close_database()

    def before_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """Take nothing more, wait for the jobs that run, give the rest back. Consumers go on, and with them Redis's
        heartbeat.
        """
        for thread in worker.workers:
            thread.stop()
        if is_own(broker) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, leave_at_once)
        logger.info("claiming nothing more, waiting for the jobs that run")
        try:
            if (host := self._host()) is not None:
                self._handed_back = host.drain()
        finally:
            if is_own(broker):
                leave_within(LAST_SECONDS)

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """End the core's threads, unless a job that was handed back still runs and may write nothing more."""
        if self._handed_back:
            logger.warning("%d jobs were handed back; other worker processes take them up", self._handed_back)
            if is_own(broker):
                leave_within(FLUSH_SECONDS)
        elif (host := self._host()) is not None:
            host.stop()


def leave_within(seconds: float) -> None:
    """See to it that the process ends although threads of jobs that were handed back still run."""
    watchdog = threading.Timer(seconds, os._exit, [0])
    watchdog.daemon = True
    watchdog.start()


def leave_at_once(number: int, frame: FrameType | None) -> None:
    """A second signal: what ran is taken up when its leases have run out."""
    os._exit(128 + number)
