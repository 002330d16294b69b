"""NATS JetStream as a doorbell: one work-queue stream on disk, one durable pull consumer for each queue alias.

The client library is asyncio alone, so each process has one event loop in a thread of its own, with one connection,
made at first use and made anew after a fork or a loss. Stream and consumer are created where they are missing, also
after the server lost its data.
"""

from django_ais.backends.queue.nats.driver import NatsQueue
from django_ais.backends.queue.nats.options import NatsOptions

__all__ = ["NatsOptions", "NatsQueue"]
