"""Connections to the broker for publishing, whose every wait is bounded. Celery's own wait for ever on Redis."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from django_ais.backends.queue.celery_app import family
from django_ais.exceptions import AisError, QueueError


class Publisher:
    """Producers of one process: each is used by one thread at a time and kept for the next. Thread-safe.

    ``timeout`` in seconds bounds one `use`; a single wait for the broker takes half of it at most.
    """

    def __init__(self, app: Any, *, timeout: float) -> None:
        self.pid = os.getpid()
        self.timeout = timeout
        self.patience = timeout / 2
        self._app = app
        self._idle: deque[Any] = deque()

    def use(self, work: Callable[[Any], None]) -> None:
        """Call ``work`` with a producer; once more with a new one if a kept one turns out to be dead.

        Raises `QueueError` with the outcome "rejected" if the broker cannot be reached, else what ``work`` raises.
        """
        end = time.monotonic() + self.timeout
        if (kept := self._take()) is not None:
            try:
                self._work(work, kept)
            except AisError:
                raise
            except Exception:  # whatever a dead connection raises; what is not its fault is raised again below
                if time.monotonic() > end - self.patience:
                    raise
            else:
                return
        self._work(work, self._connect())

    def _work(self, work: Callable[[Any], None], producer: Any) -> None:
        try:
            work(producer)
        except BaseException:
            _drop(producer)
            raise
        self._idle.append(producer)

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connect(self) -> Any:
        connection = self._app.connection_for_write(
            connect_timeout=self.patience, heartbeat=0, transport_options=self._transport_options()
        )
        try:
            connection.ensure_connection(max_retries=0, timeout=self.patience, reraise_as_library_errors=False)
            producer = self._app.amqp.Producer(connection, auto_declare=False)
            keep_client(producer.channel)  # Redis connects here
            return producer
        except Exception as error:  # whatever a client library says of a broker that is not there
            connection.collect()
            text = f"the broker at {connection.as_uri()} cannot be reached: {error}"
            raise QueueError(text, outcome="rejected") from error

    def _transport_options(self) -> dict[str, Any]:
        bounded: dict[str, Any] = {"max_retries": 0}
        if family(self._app.conf.broker_write_url) == "amqp":
            bounded |= {"read_timeout": self.patience, "write_timeout": self.patience, "confirm_publish": True}
        else:
            bounded |= {"socket_timeout": self.patience, "socket_connect_timeout": self.patience}
            bounded |= {"retry_on_timeout": False, "health_check_interval": 0}
        return bounded

    def close(self) -> None:
        """Close what is kept."""
        while (producer := self._take()) is not None:
            _drop(producer)


def keep_client(channel: Any) -> None:
    """Let a channel on Redis use one client for all of its messages. kombu makes one for each, with a table of all
    commands, which costs more than to send the message; connections are the pool's either way.
    """
    make = getattr(channel, "_create_client", None)
    if make is None:
        return
    client = make()
    channel._create_client = lambda asynchronous=False: make(asynchronous=True) if asynchronous else client


def _drop(producer: Any) -> None:
    connection = producer.connection
    if connection is not None:
        connection.collect()  # also a dead one, without waiting for its answer
