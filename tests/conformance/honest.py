"""Drivers that keep every promise, to break one of them in: in memory, behind a door, in a folder."""

from __future__ import annotations

import atexit
import socket
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import ConfigDict
from queue_driver.spool import SpoolQueue

from django_ais.backends.queue.memory import MemoryOptions, MemoryQueue
from django_ais.conformance import QueueProfile
from django_ais.conformance.ledger import here
from django_ais.conformance.servers import free_port
from django_ais.exceptions import QueueError
from django_ais.queues import QueueMessage

DOOR_TIMEOUT = 0.5  # seconds; less than the suite gives


def broken() -> None:
    """Tell the ledger that the broken part was reached."""
    here().write("broken")


class Memory(MemoryQueue):
    """An ordered list in memory."""


class Plain(Memory):
    """The same, without what it need not have."""

    supports_priority: ClassVar[bool] = False
    supports_depth: ClassVar[bool] = False

    def depth(self) -> None:  # type: ignore[override]
        return None


class DoorOptions(MemoryOptions):
    """Where the door is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int


class Door(Memory):
    """An engine that has to be asked over a socket first, as a broker is."""

    options_class = DoorOptions  # type: ignore[assignment]
    error_map = {"builtins.OSError": "rejected"}

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        self.knock(timeout)
        super()._enqueue(messages, timeout=timeout)

    def knock(self, timeout: float | None) -> None:
        with socket.create_connection(("127.0.0.1", self.options.port), timeout=timeout) as connection:
            connection.sendall(b"?")
            if connection.recv(1) != b"!":
                raise ConnectionResetError("the door was shut")

    def ping(self, *, timeout: float = 5.0) -> None:
        try:
            self.knock(timeout)
        except OSError as error:
            raise QueueError(f"nobody opens: {error}", outcome="rejected") from error


class Doorkeeper:
    """The server: opens to everybody."""

    name = "a door"
    version = "1"

    def __enter__(self) -> Doorkeeper:
        self._free = free_port()
        self.port = self._free.__enter__()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._open, daemon=True).start()
        return self

    def _open(self) -> None:
        try:
            while True:
                with self._listener.accept()[0] as visitor:
                    visitor.recv(1)
                    visitor.sendall(b"!")
        except OSError:
            return

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._free.__exit__(None, None, None)


class Spool(SpoolQueue):
    """A folder, with worker processes."""


class Folder(SpoolQueue):
    """A folder whose messages are handled by a thread of the process that sends."""

    is_embedded: ClassVar[bool] = True
    supports_cancel_pending: ClassVar[bool] = True

    def __init__(self, *arguments: Any, **paths: Any) -> None:
        super().__init__(*arguments, **paths)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        super()._enqueue(messages, timeout=timeout)
        if self._thread is None:
            self._thread = threading.Thread(target=self._consume, daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def _consume(self) -> None:
        self._run_worker(concurrency=1, stop=self._stop)

    def _cancel(self, dispatch_ids: Sequence[str]) -> None:
        for dispatch_id in dispatch_ids:
            (self.place("waiting") / dispatch_id).unlink(missing_ok=True)

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)


def profile_of(driver: type) -> type[QueueProfile]:
    """The profile under which a driver made of one of these is tried."""
    options: dict[str, Any] = {"threads": 1}
    servers: list[Any] = []
    if issubclass(driver, SpoolQueue):
        options = {"folder": f"{{folder}}/{driver.__name__}", "patience_seconds": 3}
    elif issubclass(driver, Door):
        options, servers = {"threads": 1, "port": "{port}"}, [Doorkeeper]
    body = {"driver": f"{driver.__module__}.{driver.__qualname__}", "options": options, "servers": servers}
    return type(f"{driver.__name__}Profile", (QueueProfile,), body)
