"""The queue driver that all others are made from."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from django_ais.breaker import Breaker
from django_ais.drivers import NoOptions, load, parse_options
from django_ais.exceptions import AisError, PartialEnqueueError, QueueError, UnsupportedFeature
from django_ais.queues.messages import Handler, Host, QueueMessage


class BaseQueue:
    """A queue driver. To write: `_enqueue`, and `_run_worker` or `worker_command`; all else is given.

    Building one does no I/O and imports no client library. ``options`` are checked by ``options_class``. The other
    arguments are dotted paths: ``handler`` of a `Handler`, ``host`` of a `Host`, and ``source``, for drivers that ask
    the core for due jobs, of a `Source`.
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
    supports_purge: ClassVar[bool] = False  # Can all waiting messages be dropped?
    supports_worker: ClassVar[bool] = True  # Is there a worker process to start, ours or the engine's own?
    is_embedded: ClassVar[bool] = False  # Do jobs run in the process that dispatches them?
    is_durable: ClassVar[bool] = True  # Does a message survive a restart of the broker?
    isolates_jobs: ClassVar[bool] = False  # Does each job have an operating-system process of its own?
    confirms_enqueue: ClassVar[bool] = False  # Does the broker acknowledge the write?

    max_batch: ClassVar[int] = 500

    needs: ClassVar[Sequence[str]] = ()
    """Top-level modules of the client library, where the driver imports it only when it connects. If one is not
    installed, settings that name the driver are refused.
    """

    error_map: ClassVar[Mapping[str, Literal["rejected", "unknown"]]] = {}
    """Dotted paths of the client library's errors, and what is known of the messages then. Subclasses are meant too.

    An error that stands nowhere leaves the outcome unknown.
    """

    def __init__(
        self,
        alias: str = "default",
        options: Mapping[str, Any] | None = None,
        *,
        handler: str,
        host: str = "",
        source: str = "",
    ) -> None:
        self.alias = alias
        self.handler_path = handler
        self.host_path = host
        self.source_path = source
        self.options = parse_options(self.options_class, options, alias=alias, driver=type(self))
        self._breaker = Breaker()

    @property
    def handler(self) -> Handler:
        """The handler itself, imported when first needed."""
        loaded: Handler = load(self.handler_path)
        return loaded

    @property
    def host(self) -> Host | None:
        """The core's side of a process that runs jobs; None where nobody named one (a test of a driver)."""
        if not self.host_path:
            return None
        loaded: Host = load(self.host_path)
        return loaded

    def enqueue(self, messages: Sequence[QueueMessage], *, timeout: float = 5.0) -> None:
        """Hand messages to the engine, in batches; refuse first what the flags deny.

        Raises `UnsupportedFeature` before anything is sent; `PartialEnqueueError` when the engine took only some of
        them; else `QueueError`, whose ``outcome`` says what is known. After a few failures in a row the engine is left
        alone for two seconds: what comes then is rejected at once. ``timeout`` in seconds, for each batch.
        """
        for message in messages:
            self._refuse_denied(message)
        if self._breaker.is_open():
            raise QueueError(
                f"queue '{self.alias}' failed several times in a row and is left alone for a moment",
                outcome="rejected",
            )
        accepted: list[str] = []
        for batch in batched(messages, self.max_batch):
            try:
                self._enqueue(batch, timeout=timeout)
            except Exception as error:  # the driver's edge: whatever a client library raises becomes ours
                self._breaker.failed()
                raise self._enqueue_error(error, messages, accepted) from error
            accepted += [message.dispatch_id for message in batch]
        self._breaker.succeeded()

    def _enqueue_error(self, error: Exception, messages: Sequence[QueueMessage], accepted: list[str]) -> AisError:
        """What `enqueue` raises for an error of the engine's, once the batches before it are counted in."""
        known = self.translate(error)
        if isinstance(known, PartialEnqueueError):
            accepted = [*accepted, *known.accepted]
        if not accepted:
            return known
        taken = set(accepted)
        failed = [message.dispatch_id for message in messages if message.dispatch_id not in taken]
        return PartialEnqueueError(str(known), accepted=accepted, failed=failed)

    def translate(self, error: Exception) -> AisError:
        """An error of the client library's as one of ours (`error_map`); ours as they are."""
        if isinstance(error, AisError):
            return error
        names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
        known = [self.error_map[name] for name in names if name in self.error_map]
        text = f"queue '{self.alias}': {type(error).__name__}: {error}"
        return QueueError(text, outcome=known[0] if known else "unknown")

    def _refuse_denied(self, message: QueueMessage) -> None:
        if message.run_after is not None and not self.can_hold_until(message.run_after):
            raise UnsupportedFeature(f"queue '{self.alias}' cannot hold a message back {self._how_far()}(run_after)")
        if message.priority and not self.supports_priority:
            raise UnsupportedFeature(f"queue '{self.alias}' has no priorities; leave priority at 0")

    def _how_far(self) -> str:
        return f"for more than {self.max_run_after} " if self.supports_run_after else ""

    def can_hold_until(self, moment: datetime) -> bool:
        """Whether the engine can hold a message back until then. If not, the sweep announces the job at its time."""
        if not self.supports_run_after:
            return False
        return self.max_run_after is None or moment - datetime.now(moment.tzinfo) <= self.max_run_after

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        """Hand at most ``max_batch`` messages to the engine within ``timeout`` seconds, or raise.

        An error of the client library's is translated by ``error_map``. A driver that knows which messages were taken
        raises `PartialEnqueueError`.
        """
        raise NotImplementedError

    def run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        """Consume until ``stop`` is set and what runs has ended; return the exit code of the worker process.

        Nothing bounds the end: whoever stops it decides how long to wait, and may leave the process before.
        """
        if not self.supports_worker:
            raise UnsupportedFeature(
                f"queue '{self.alias}' starts no worker process of its own. {self.worker_advice()}"
            )
        return self._run_worker(concurrency=concurrency, stop=stop)

    def _run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        raise NotImplementedError

    def worker_command(self, *, concurrency: int) -> list[str] | None:
        """The engine's own command line for a worker process, which ``manage.py ais_worker`` then becomes; None where
        `run_worker` does it.
        """
        return None

    def worker_advice(self) -> str:
        """What to start instead, in a sentence, where the driver ``supports_worker`` not."""
        return "Start its engine's with the engine's own command."

    def register_task(self) -> None:
        """Make the engine know the task that calls the handler, in this process. Called by ``django_ais.tasks``."""

    def cancel(self, dispatch_ids: Sequence[str]) -> None:
        """Take messages back that were not delivered yet. Raises `UnsupportedFeature` unless the driver can."""
        if not self.supports_cancel_pending:
            raise UnsupportedFeature(f"queue '{self.alias}' cannot take messages back")
        self._cancel(dispatch_ids)

    def _cancel(self, dispatch_ids: Sequence[str]) -> None:
        raise NotImplementedError

    def purge(self) -> None:
        """Drop all waiting messages. Raises `UnsupportedFeature` unless the driver can. No job is lost: the sweep
        announces it again.
        """
        if not self.supports_purge:
            raise UnsupportedFeature(f"queue '{self.alias}' cannot drop its waiting messages")
        self._purge()

    def _purge(self) -> None:
        raise NotImplementedError

    def depth(self) -> int | None:
        """How many messages wait; None where the engine cannot say."""
        return None

    def ping(self, *, timeout: float = 5.0) -> None:
        """Raise `QueueError` if the engine cannot be reached."""

    def check(self) -> list[str]:
        """Sentences about settings that would lose work, without touching the network."""
        return []

    def probe(self) -> list[str]:
        """`check`, and what only the running engine can tell. For ``manage.py ais_doctor``; may raise `QueueError`."""
        return self.check()

    def close(self) -> None:
        """Let go of connections and threads. May be called twice, from any thread."""

    def after_fork(self) -> None:
        """Drop what was inherited from the parent process, without I/O."""


def batched(messages: Sequence[QueueMessage], size: int) -> Iterator[list[QueueMessage]]:
    """Cut a sequence into lists of at most ``size``."""
    rest = iter(messages)
    while batch := list(islice(rest, size)):
        yield batch
