"""Drivers that take messages one by one: the loop, its slots and its drain are given."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import ClassVar, Protocol

from django_ais.queues.base import BaseQueue
from django_ais.queues.messages import Disposition, Handler

logger = logging.getLogger("django_ais.queues")

PAUSE_SECONDS = 2.0  # after an engine failed to give messages
QUICK_SECONDS = 0.02  # jobs that take no longer than this, on average, are reserved ahead
RESERVE_SECONDS = 5.0  # the longest wait for messages; `_interrupt` ends it
STALL_SECONDS = 0.25  # no slot became free for this long: what was reserved ahead is better given back


class Delivery(Protocol):
    """A message in this process's hands. None of these raises."""

    job_id: str

    def ack(self) -> None: ...

    def nack(self, delay: float) -> None: ...

    def reject(self) -> None: ...

    def touch(self) -> None:
        """Say that the job still runs. Called every ``touch_seconds`` if the driver ``supports_touch``."""
        ...


class PullQueue(BaseQueue):
    """A driver that takes messages one by one; the loop, its slots and its drain are given. To write: `_reserve`.

    The loop reserves at most as many deliveries as there are free slots, so that nothing waits in a busy process while
    another is idle.
    """

    touch_seconds: ClassVar[float] = 20.0  # how often a running delivery is extended, where the engine supports it
    reserves_ahead: ClassVar[int] = 0  # how many more than there are free slots, while jobs take milliseconds

    def _reserve(self, *, limit: int, timeout: float) -> Sequence[Delivery]:
        """Up to ``limit`` deliveries; wait at most ``timeout`` seconds for the first."""
        raise NotImplementedError

    def _interrupt(self) -> None:
        """Let a waiting `_reserve` return now: the process stops."""

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Give back what was reserved ahead and not begun: jobs have become long, or the process stops."""
        for delivery in deliveries:
            delivery.nack(0.0)

    def _run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        slots = Slots(concurrency)
        reserved: SimpleQueue[Delivery | None] = SimpleQueue()
        running: dict[int, Delivery] = {}
        # Daemons: how long a stopping process waits for its jobs is decided by who stops it, not by the interpreter.
        threads = [
            threading.Thread(
                target=self._work,
                args=(self.handler, reserved, slots, running),
                name=f"ais-{self.alias}-{number}",
                daemon=True,
            )
            for number in range(concurrency)
        ]
        for thread in threads:
            thread.start()
        ended = threading.Event()  # of this loop
        if self.supports_touch:
            toucher = threading.Thread(target=self._touch, args=(running, ended), name="ais-toucher", daemon=True)
            toucher.start()
        threading.Thread(target=self._interrupt_at, args=(stop, ended), name="ais-stopper", daemon=True).start()
        while not stop.is_set():
            if limit := slots.wait_for_free(stop, timeout=STALL_SECONDS):
                ahead = self.reserves_ahead if slots.are_quick else 0
                for delivery in self._reserve_or_pause(limit + ahead, stop):
                    slots.take()
                    reserved.put(delivery)
            elif slots.are_stalled:
                self._give_back_from(reserved, slots)
        self._give_back_from(reserved, slots)
        for _ in threads:
            reserved.put(None)
        for thread in threads:
            thread.join()
        ended.set()
        return 0

    def _give_back_from(self, reserved: SimpleQueue[Delivery | None], slots: Slots) -> None:
        waiting: list[Delivery] = []
        with suppress(Empty):
            while (delivery := reserved.get_nowait()) is not None:
                waiting.append(delivery)
        if waiting:
            slots.free(len(waiting))
            self._give_back(waiting)

    def _interrupt_at(self, stop: threading.Event, ended: threading.Event) -> None:
        """End a wait for messages as soon as the process is to stop."""
        stop.wait()
        while not ended.wait(0.05):
            self._interrupt()

    def _touch(self, running: dict[int, Delivery], ended: threading.Event) -> None:
        while not ended.wait(self.touch_seconds):
            for delivery in list(running.values()):
                try:
                    delivery.touch()
                except Exception:  # it does not raise by contract; one that does must not stop the others' extensions
                    logger.exception("the delivery of job %s could not be extended", delivery.job_id)

    def _reserve_or_pause(self, limit: int, stop: threading.Event) -> Sequence[Delivery]:
        try:
            return self._reserve(limit=limit, timeout=RESERVE_SECONDS)
        except Exception:  # the loop's edge: an engine that is away for a moment must not end a worker process
            logger.warning("queue '%s' gave nothing; trying again in %g s", self.alias, PAUSE_SECONDS, exc_info=True)
            stop.wait(PAUSE_SECONDS)
            return ()

    def _work(
        self,
        handler: Handler,
        reserved: SimpleQueue[Delivery | None],
        slots: Slots,
        running: dict[int, Delivery],
    ) -> None:
        while (delivery := reserved.get()) is not None:
            running[id(delivery)] = delivery
            begun = time.monotonic()
            try:
                outcome = handler(delivery.job_id)
                if outcome.disposition is Disposition.ACK:
                    delivery.ack()
                elif outcome.disposition is Disposition.RETRY:
                    delivery.nack(outcome.delay)
                else:
                    delivery.reject()
            except Exception:  # neither raises by contract; one that does must not cost the process a thread
                logger.exception("the message of job %s could not be answered", delivery.job_id)
            finally:
                del running[id(delivery)]
                slots.give(time.monotonic() - begun)


class Slots:
    """How many jobs a process may still take. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._free = size  # negative while more is reserved than can run
        self._condition = threading.Condition()
        self._seconds = 1.0  # a running average of how long a job takes
        self._given_at = 0.0

    @property
    def are_quick(self) -> bool:
        """Whether jobs take milliseconds at present."""
        return self._seconds <= QUICK_SECONDS

    @property
    def are_stalled(self) -> bool:
        """Whether no job has ended for a while."""
        return time.monotonic() - self._given_at >= STALL_SECONDS

    def wait_for_free(self, stop: threading.Event, *, timeout: float) -> int:
        """The number of free slots, waiting up to ``timeout`` seconds for the first."""
        with self._condition:
            self._condition.wait_for(lambda: self._free > 0 or stop.is_set(), timeout)
            return 0 if stop.is_set() else max(self._free, 0)

    def take(self) -> None:
        """Use a slot."""
        with self._condition:
            self._free -= 1

    def free(self, count: int) -> None:
        """Free slots whose jobs did not begin here."""
        with self._condition:
            self._free += count

    def give(self, seconds: float) -> None:
        """Free a slot after a job that took so long."""
        with self._condition:
            self._free += 1
            self._seconds += (seconds - self._seconds) / 8
            self._given_at = time.monotonic()
            if self._free > 0:
                self._condition.notify_all()
