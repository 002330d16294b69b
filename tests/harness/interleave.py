"""Several threads at once, each with a database connection of its own, stopped and let go at chosen places.

An interleaving is told step by step: one rival stops at a `Gate`, another runs until it waits for a lock, the gate
opens.
Nothing here sleeps for luck: a test waits for what it names, and gives up loudly after `PATIENCE` seconds.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import pytest
from django.db import connections
from django.db.backends.signals import connection_created

from django_ais.runtime import database, failpoints

PATIENCE = 30.0  # seconds; only a test that fails waits so long
LOOKS = 4  # a thread found so often in a row at the same place of the same call is waiting there
WAITING_ROOMS = {"_writing", "whole", "execute"}  # functions that wait for SQLite's one writer

T = TypeVar("T")


class Gate:
    """A place where one thread stops until the test lets it go; others pass."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def stop_here(self, *_: object) -> None:
        """Stop, if nobody has stopped here before."""
        if self._reached.is_set():
            return
        self._reached.set()
        if not self._opened.wait(PATIENCE):
            raise TimeoutError("nobody opened the gate")

    def await_reached(self) -> None:
        """Wait until a thread stands here."""
        if not self._reached.wait(PATIENCE):
            raise TimeoutError("nobody reached the gate")

    def open(self) -> None:
        """Let the thread go."""
        self._opened.set()


class Rival(Generic[T]):
    """A thread with connections of its own that does one thing."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._pid = 0  # of its PostgreSQL backend
        self._place: tuple[int, int] | None = None
        self._looks = 0
        self._thread = threading.Thread(target=self._run, name="rival", daemon=True)
        connection_created.connect(self._connected, weak=False, dispatch_uid=self)
        self._thread.start()

    def _connected(self, *, connection: Any, **_: Any) -> None:
        if threading.current_thread() is self._thread and connection.vendor == "postgresql":
            self._pid = connection.connection.info.backend_pid

    def _run(self) -> None:
        try:
            self._values.append(self._function())
        except BaseException as error:  # noqa: BLE001 - handed to the test by `result`
            self._error = error
        finally:
            connection_created.disconnect(dispatch_uid=self)
            connections.close_all()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(PATIENCE)

    def result(self) -> T:
        """Wait for the end; return what the function returned or raise what it raised."""
        self.join()
        if not self.is_done:
            raise TimeoutError("a rival did not come to an end")
        if self._error is not None:
            raise self._error
        return self._values[0]

    def await_blocked(self) -> bool:
        """Wait until the thread waits for somebody else's lock: True; or until it has ended without: False."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.is_done:
                return False
            if self.waits:
                return True
            time.sleep(0.01)  # neither database tells anybody that a connection has begun to wait
        raise TimeoutError("a rival neither ended nor waited for a lock")

    @property
    def waits(self) -> bool:
        """Whether the thread was found waiting for somebody else's lock just now."""
        return self._waits_on_postgres() if database.is_postgres() else self._waits_on_sqlite()

    def _waits_on_postgres(self) -> bool:
        return bool(self._pid and database.query("SELECT cardinality(pg_blocking_pids(%s)) > 0", [self._pid])[0][0])

    def _waits_on_sqlite(self) -> bool:
        """Stands still in front of this process's writer lock, or inside SQLite."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        place = (id(frame), frame.f_lasti) if frame and frame.f_code.co_name in WAITING_ROOMS else None
        self._looks = self._looks + 1 if place is not None and place == self._place else 0
        self._place = place
        return self._looks >= LOOKS


class Stage:
    """The rivals and gates of one test; at its end, whatever happened, all gates open and all threads end."""

    def __init__(self) -> None:
        self._gates: list[Gate] = []
        self._rivals: list[Rival[Any]] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exception: object) -> None:
        failpoints.disable()
        for gate in self._gates:
            gate.open()
        for rival in self._rivals:
            rival.join()

    def gate(self) -> Gate:
        """A gate to be put into a hook."""
        self._gates.append(Gate())
        return self._gates[-1]

    def before_commit(self, *, nth: int = 1) -> Gate:
        """A gate at the end of the n-th transaction of ours from now on, whichever thread it belongs to."""
        gate = self.gate()
        failpoints.enable({"before_commit": nth}, gate.stop_here)
        return gate

    def start(self, function: Callable[..., T], *arguments: Any) -> Rival[T]:
        """Do something in a thread of its own."""
        rival = Rival(lambda: function(*arguments))
        self._rivals.append(rival)
        return rival


needs_row_locks = pytest.mark.skipif(
    os.environ.get("AIS_TEST_DB") != "postgres", reason="needs row locks: PostgreSQL (SQLite has one writer)"
)
needs_one_writer = pytest.mark.skipif(
    os.environ.get("AIS_TEST_DB") == "postgres", reason="needs a database with one writer at a time: SQLite"
)


@contextmanager
def impatient(milliseconds: int = 3_000) -> Iterator[None]:
    """Let this thread's statements fail when they wait for a lock for longer (PostgreSQL)."""
    database.execute(f"SET lock_timeout = {milliseconds}")
    try:
        yield
    finally:
        database.execute("SET lock_timeout = 0")
