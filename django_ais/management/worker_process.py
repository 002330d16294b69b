"""A worker process: consume a queue until a signal, then drain within a bound.

The main thread only waits, so that a signal is always heard; consuming and draining happen in threads. The first
SIGTERM or SIGINT stops claiming, the second one ends the process at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType

from django.core.management.base import CommandError
from django.db import DatabaseError

from django_ais.management.workflow_files import counted
from django_ais.models import JobPacket
from django_ais.runtime import database
from django_ais.runtime.host import host
from django_ais.runtime.occupancy import occupancy

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LAST_SECONDS = 5.0  # beyond the drain's: a database that does not answer must not keep a stopping process

Consume = Callable[[threading.Event], int]


class WorkerProcess:
    """This process, while it consumes a queue and sweeps. ``say`` prints a line."""

    def __init__(self, consume: Consume, *, drain_seconds: float, say: Callable[[str], None]) -> None:
        self._consume = consume
        self._drain_seconds = drain_seconds
        self._say = say
        self._stop = threading.Event()
        self._news: SimpleQueue[tuple[str, int | None]] = SimpleQueue()  # `put` may be called by a signal handler
        self._signals = 0

    def run(self) -> int:
        """Consume until a signal or until the consumer ends; drain; return the exit code.

        Does not return if jobs of this process still run in the end: it leaves without them.
        """
        for number in SIGNALS:
            signal.signal(number, self._hear)
        host.start()
        consumer = self._begin("consumed", lambda: self._consume(self._stop))
        what, value = self._news.get()
        self._stop.set()
        occupancy.refuse()
        if what == "signal":
            self._say(
                f"ais_worker: {signal.Signals(value or 0).name} received, claiming nothing more; waiting up to "
                f"{self._drain_seconds:g} s for running jobs. A second signal stops at once."
            )
            value = 0
        self._begin("drained", lambda: host.drain(self._drain_seconds))
        handed_back = self._await_drain()
        code = 1 if value is None or handed_back is None else value
        return self._leave(handed_back, code, consumer)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os.write(2, b"ais_worker: stopped at once; what ran is taken up when its leases have run out.\n")
            os._exit(128 + number)
        self._news.put(("signal", number))

    def _begin(self, what: str, work: Callable[[], int]) -> threading.Thread:
        """Run ``work`` in a thread that tells what it returned; None for an error, which is printed."""

        def whole() -> None:
            try:
                self._news.put((what, work()))
            except BaseException:  # noqa: BLE001 - told to the main thread, which ends the process
                traceback.print_exc()
                self._news.put((what, None))

        thread = threading.Thread(target=whole, name=f"ais-{what}", daemon=True)
        thread.start()
        return thread

    def _await_drain(self) -> int | None:
        """How many jobs were handed back; None if nobody knows."""
        end = time.monotonic() + self._drain_seconds + LAST_SECONDS
        what, value = "", None
        with suppress(Empty):
            while what != "drained":
                what, value = self._news.get(timeout=max(end - time.monotonic(), 0.0))
        return value if what == "drained" else None

    def _leave(self, handed_back: int | None, code: int, consumer: threading.Thread) -> int:
        self._say(f"ais_worker: stopped; {outcome(handed_back)}.")
        consumer.join(LAST_SECONDS if handed_back == 0 else 0.0)
        if consumer.is_alive():  # a job still runs: it may write nothing more, and nobody waits for it
            leave_at_once(code)
        watchdog = threading.Timer(LAST_SECONDS, leave_at_once, [code])
        watchdog.daemon = True
        watchdog.start()
        host.stop()
        return code


def outcome(handed_back: int | None) -> str:
    """How a drain ended, in words."""
    if handed_back is None:
        return "the database did not answer, so jobs that ran are taken up when their leases have run out"
    if handed_back:
        return f"{counted(handed_back, 'job')} handed back"
    return "every job it took has ended"


def leave_at_once(code: int) -> None:
    """End the process without waiting for its threads."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def require_database() -> None:
    """Raise `CommandError` unless the jobs' table can be read."""
    try:
        JobPacket.objects.using(database.database()).exists()
    except DatabaseError as error:
        raise CommandError(
            f"The jobs' table cannot be read on database '{database.database()}': {error}. "
            "Is the database up, and migrated (manage.py migrate)?"
        ) from error
