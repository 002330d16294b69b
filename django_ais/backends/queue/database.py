"""The table is the queue: nothing is sent, worker processes take due rows in batches.

On PostgreSQL idle worker processes are woken by LISTEN/NOTIFY and rows are passed over that others hold; elsewhere they
look again after a short wait that grows to a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from django_ais.drivers import load
from django_ais.queues import Delivery, PullQueue, QueueMessage, Source


class DatabaseQueue(PullQueue):
    """No broker. Run ``manage.py ais_worker`` beside the site."""

    supports_run_after: ClassVar[bool] = True  # Can the engine hold a message back until a time?
    supports_priority: ClassVar[bool] = True  # Does a higher priority overtake?
    supports_bulk: ClassVar[bool] = True  # Is a batch one round trip?
    redelivers_on_worker_loss: ClassVar[bool] = True  # Does the engine itself deliver again when a process dies?
    confirms_enqueue: ClassVar[bool] = True  # Does the broker acknowledge the write?

    reserves_ahead: ClassVar[int] = 16  # how many more than there are free slots, while jobs take milliseconds

    @property
    def source(self) -> Source:
        """Where due rows come from."""
        loaded: Source = load(self.source_path)
        return loaded

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        if any(message.run_after is None for message in messages):
            self.source.wake(self.alias)

    def _reserve(self, *, limit: int, timeout: float) -> Sequence[Reserved]:
        return [Reserved(job_id) for job_id in self.source.reserve(self.alias, limit=limit, timeout=timeout)]

    def _interrupt(self) -> None:
        self.source.interrupt(self.alias)

    def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        self.source.give_back()


@dataclass
class Reserved:
    """A row that this process has claimed; what becomes of it is recorded in the row."""

    job_id: str

    def ack(self) -> None:
        """Settled."""

    def nack(self, delay: float) -> None:
        """The row says when it is due."""

    def reject(self) -> None:
        """The row says what became of it."""

    def touch(self) -> None:
        """The keeper renews the lease."""
