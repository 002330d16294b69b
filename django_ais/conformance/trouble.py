"""Ports that behave badly, and cables that can be cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

from django_ais.conformance.servers import free_port


@contextmanager
def dead_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens."""
    with free_port() as port:
        yield port


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and bytes and never answers."""
    with free_port() as port, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        held: list[socket.socket] = []

        def swallow() -> None:
            with suppress(OSError):
                while True:
                    held.append(listener.accept()[0])

        threading.Thread(target=swallow, daemon=True).start()
        try:
            yield port
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()


class Cable:
    """Ports that lead to those of the servers, and can be cut: every connection at once, without an end."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.cuts = 0
        self.ports: list[int] = []
        self._targets = ports
        self._stack = ExitStack()
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for target in self._targets:
                port = stack.enter_context(free_port())
                listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
                stack.callback(_hang_up, listener)
                threading.Thread(target=self._accept, args=(listener, target), daemon=True).start()
                self.ports.append(port)
            stack.callback(self.cut)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def cut(self) -> int:
        """Cut all connections; return how many there were."""
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            _hang_up(end)
        self.cuts += len(ends) // 2
        return len(ends) // 2

    def _accept(self, listener: socket.socket, target: int) -> None:
        with suppress(OSError):
            while True:
                near = listener.accept()[0]
                try:
                    far = socket.create_connection(("127.0.0.1", target), timeout=5)
                except OSError:
                    _hang_up(near)
                    continue
                far.settimeout(None)
                with self._lock:
                    self._ends |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with self._lock:
            self._ends -= {source, sink}
        for end in (source, sink):
            _hang_up(end)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
