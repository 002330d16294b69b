"""The contract of a queue driver: a doorbell that carries job ids. Pure: no Django.

**What a driver promises.** `BaseQueue.enqueue` returns when the engine took the messages, as far as the engine can
tell, or raises `QueueError` within its timeout plus one second; it may be called from any thread and process, before
and after a fork, and never inside a transaction. The handler is called at least once for each message while the engine
is healthy, and a message is acknowledged only after the handler returned. A driver adds no retries, results, time
limits or deduplication of its own.

**What it need not promise.** Order, exactly one delivery, or any delivery at all once its broker lost its data: a job
is a row, and the sweep announces it again. The handler is safe to call any number of times for the same job.
"""

from django_ais.breaker import Breaker
from django_ais.queues.base import BaseQueue, batched
from django_ais.queues.messages import (
    ACK,
    PRIORITIES,
    Disposition,
    Handler,
    Host,
    Outcome,
    QueueMessage,
    Source,
    retry_in,
)
from django_ais.queues.pull import Delivery, PullQueue, Slots

__all__ = [
    "ACK",
    "PRIORITIES",
    "BaseQueue",
    "Breaker",
    "Delivery",
    "Disposition",
    "Handler",
    "Host",
    "Outcome",
    "PullQueue",
    "QueueMessage",
    "Slots",
    "Source",
    "batched",
    "retry_in",
]
