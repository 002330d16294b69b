"""The contract of a queue driver: a doorbell that carries job ids. Pure: no Django.

**What a driver promises.** `BaseQueue.enqueue` returns when the engine took the messages, as far as the engine can
tell, or raises `QueueError` within its timeout plus one second; it may be called from any thread and process, before
and after a fork, and never inside a transaction. The handler is called at least once for each message while the engine
is healthy, and a message is acknowledged only after the handler returned. A driver adds no retries, results, time
limits or deduplication of its own.

**What it need not promise.** Order, exactly one delivery, or any delivery at all once its broker lost its data: a job
is a row, and the sweep announces it again. The handler is safe to call any number of times for the same job.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from queue import SimpleQueue
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from django_ais.drivers import NoOptions, load, parse_options
from django_ais.exceptions import UnsupportedFeature

logger = logging.getLogger("django_ais.queues")

PAUSE_SECONDS = 2.0  # after an engine failed to give messages

PRIORITIES = range(-100, 101)
"""Higher runs first; the scale of Django's own Tasks framework."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage:
    """One ring of the doorbell.

    ``dispatch_id`` is unique per announcement (``<job id>-<n>``, at most 64 of ``[A-Za-z0-9_-]``) and is what a broker
    sees as the message's id: reused ids vanish in duplicate windows. ``queue_name`` is the `QUEUES` alias.
    ``run_after`` is set only if the driver said that it can hold a message back.
    """

    job_id: str
    dispatch_id: str
    queue_name: str = "default"
    priority: int = 0
    run_after: datetime | None = None


class Disposition(enum.Enum):
    """What a driver does with a message after the handler returned."""

    ACK = "ack"
    RETRY = "retry"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The handler's answer. ``delay`` in seconds, for ``RETRY``: not to be delivered again before."""

    disposition: Disposition = Disposition.ACK
    delay: float = 0.0


ACK = Outcome()


def retry_in(delay: float) -> Outcome:
    """Ask for the same message again, not before ``delay`` seconds."""
    return Outcome(Disposition.RETRY, delay)


class Handler(Protocol):
    """What a driver calls for each message. It never raises."""

    def __call__(self, job_id: str) -> Outcome: ...


class BaseQueue:
    """A queue driver. To write: `_enqueue` and `_run_worker`; all else is given.

    Building one does no I/O and imports no client library. ``options`` are checked by ``options_class``; ``handler`` is
    the dotted path of a `Handler`, and ``source``, for drivers that ask the core for due jobs, of a `Source`.
    """

    options_class: ClassVar[type[BaseModel]] = NoOptions

    supports_run_after: ClassVar[bool] = False  # Can the engine hold a message back until a time?
    max_run_after: ClassVar[timedelta | None] = None  # ... and how far ahead? None: no limit.
    supports_priority: ClassVar[bool] = False  # Does a higher priority overtake?
    supports_bulk: ClassVar[bool] = False  # Is a batch one round trip?
    redelivers_on_worker_loss: ClassVar[bool] = False  # Does the engine itself deliver again when a process dies?
    redelivery_delay: ClassVar[float | None] = None  # ... after how many seconds? None: unknown.
    supports_touch: ClassVar[bool] = False  # Can a running delivery be extended?
    supports_cancel_pending: ClassVar[bool] = False  # Can a message not yet delivered be taken back?
    supports_depth: ClassVar[bool] = False  # Can the engine say how many messages wait?
    supports_worker: ClassVar[bool] = True  # Does `run_worker` start the engine's worker process?
    is_embedded: ClassVar[bool] = False  # Do jobs run in the process that dispatches them?
    is_durable: ClassVar[bool] = True  # Does a message survive a restart of the broker?
    isolates_jobs: ClassVar[bool] = False  # Does each job have an operating-system process of its own?
    confirms_enqueue: ClassVar[bool] = False  # Does the broker acknowledge the write?

    max_batch = 500

    def __init__(
        self, alias: str = "default", options: Mapping[str, Any] | None = None, *, handler: str, source: str = ""
    ) -> None:
        self.alias = alias
        self.handler_path = handler
        self.source_path = source
        self.options = parse_options(self.options_class, options, alias=alias, driver=type(self))

    @property
    def handler(self) -> Handler:
        """The handler itself, imported when first needed."""
        loaded: Handler = load(self.handler_path)
        return loaded

    def enqueue(self, messages: Sequence[QueueMessage], *, timeout: float = 5.0) -> None:
        """Hand messages to the engine, in batches; refuse first what the flags deny.

        Raises `UnsupportedFeature` before anything is sent, `QueueError` or `PartialEnqueueError` when the engine did
        not take them. ``timeout`` in seconds, for each batch.
        """
        for message in messages:
            self._refuse_denied(message)
        for batch in batched(messages, self.max_batch):
            self._enqueue(batch, timeout=timeout)

    def _refuse_denied(self, message: QueueMessage) -> None:
        if message.run_after is not None and not self.supports_run_after:
            raise UnsupportedFeature(f"queue '{self.alias}' cannot hold a message back (run_after)")
        if message.priority and not self.supports_priority:
            raise UnsupportedFeature(f"queue '{self.alias}' has no priorities; leave priority at 0")

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        raise NotImplementedError

    def run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        """Consume until ``stop`` is set and what runs has ended; return the exit code of the worker process.

        Nothing bounds the end: whoever stops it decides how long to wait, and may leave the process before.
        """
        if not self.supports_worker:
            raise UnsupportedFeature(f"queue '{self.alias}' starts no worker process of its own")
        return self._run_worker(concurrency=concurrency, stop=stop)

    def _run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        raise NotImplementedError

    def worker_command(self, *, concurrency: int) -> list[str] | None:
        """The engine's own command line for a worker process; None where there is none."""
        return None

    def depth(self) -> int | None:
        """How many messages wait; None where the engine cannot say."""
        return None

    def ping(self, *, timeout: float = 5.0) -> None:
        """Raise `QueueError` if the engine cannot be reached."""

    def check(self) -> list[str]:
        """Sentences about settings that would lose work, without touching the network."""
        return []

    def close(self) -> None:
        """Let go of connections and threads. May be called twice, from any thread."""

    def after_fork(self) -> None:
        """Drop what was inherited from the parent process, without I/O."""


def batched(messages: Sequence[QueueMessage], size: int) -> Iterator[list[QueueMessage]]:
    """Cut a sequence into lists of at most ``size``."""
    rest = iter(messages)
    while batch := list(islice(rest, size)):
        yield batch


class Delivery(Protocol):
    """A message in this process's hands. None of these raises."""

    job_id: str

    def ack(self) -> None: ...

    def nack(self, delay: float) -> None: ...

    def reject(self) -> None: ...


class PullQueue(BaseQueue):
    """A driver that takes messages one by one; the loop, its slots and its drain are given. To write: `_reserve`.

    The loop reserves at most as many deliveries as there are free slots, so that nothing waits in a busy process while
    another is idle.
    """

    def _reserve(self, *, limit: int, timeout: float) -> Sequence[Delivery]:
        """Up to ``limit`` deliveries; wait at most ``timeout`` seconds for the first."""
        raise NotImplementedError

    def _interrupt(self) -> None:
        """Let a waiting `_reserve` return now: a slot is free or the process stops."""

    def _run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        slots = Slots(concurrency, on_free=self._interrupt)
        reserved: SimpleQueue[Delivery | None] = SimpleQueue()
        # Daemons: how long a stopping process waits for its jobs is decided by who stops it, not by the interpreter.
        threads = [
            threading.Thread(
                target=self._work, args=(self.handler, reserved, slots), name=f"ais-{self.alias}-{number}", daemon=True
            )
            for number in range(concurrency)
        ]
        for thread in threads:
            thread.start()
        while not stop.is_set():
            if limit := slots.wait_for_free(stop, timeout=1.0):
                for delivery in self._reserve_or_pause(limit, stop):
                    slots.take()
                    reserved.put(delivery)
        for _ in threads:
            reserved.put(None)
        for thread in threads:
            thread.join()
        return 0

    def _reserve_or_pause(self, limit: int, stop: threading.Event) -> Sequence[Delivery]:
        try:
            return self._reserve(limit=limit, timeout=1.0)
        except Exception:  # the loop's edge: an engine that is away for a moment must not end a worker process
            logger.warning("queue '%s' gave nothing; trying again in %g s", self.alias, PAUSE_SECONDS, exc_info=True)
            stop.wait(PAUSE_SECONDS)
            return ()

    def _work(self, handler: Handler, reserved: SimpleQueue[Delivery | None], slots: Slots) -> None:
        while (delivery := reserved.get()) is not None:
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
                slots.give()


class Slots:
    """How many jobs a process may still take. Thread-safe."""

    def __init__(self, size: int, *, on_free: Callable[[], None]) -> None:
        self._free = size
        self._condition = threading.Condition()
        self._on_free = on_free

    def wait_for_free(self, stop: threading.Event, *, timeout: float) -> int:
        """The number of free slots, waiting up to ``timeout`` seconds for the first."""
        with self._condition:
            self._condition.wait_for(lambda: self._free > 0 or stop.is_set(), timeout)
            return 0 if stop.is_set() else self._free

    def take(self) -> None:
        """Use a slot."""
        with self._condition:
            self._free -= 1

    def give(self) -> None:
        """Free a slot."""
        with self._condition:
            self._free += 1
            self._condition.notify_all()
        self._on_free()


class Source(Protocol):
    """What a driver whose table is the queue asks the core for (house ruling 7)."""

    def reserve(self, queue_name: str, *, limit: int, timeout: float) -> Sequence[str]:
        """Ids of due jobs, claimed for this process; waits up to ``timeout`` seconds for the first."""
        ...

    def wake(self, queue_name: str) -> None:
        """Tell idle worker processes that rows are due."""
        ...

    def interrupt(self, queue_name: str) -> None:
        """Let a waiting `reserve` of this process return now."""
        ...
