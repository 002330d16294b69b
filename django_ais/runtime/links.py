"""Connections of the threads that run jobs: how they are opened, kept between jobs, dropped when broken, and closed."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_ais import conf
from django_ais.runtime.database import connection, database

_kept: set[BaseDatabaseWrapper] = set()  # of threads that are between two jobs
_keeping = threading.Lock()


def prepare_sqlite(*, connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Put a new connection's SQLite file into WAL mode (a receiver of ``connection_created``)."""
    if connection.vendor == "sqlite" and connection.alias == database() and conf.current().sqlite_wal:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode=WAL")


def refresh() -> None:
    """Drop this thread's connection if it is broken, so that the next statement opens another."""
    if not connection().in_atomic_block:
        connection().close_if_unusable_or_obsolete()


def tidy(*, at_rest: bool) -> None:
    """Look after this thread's connections before a job, and after it (``at_rest``): drop broken and, where the
    settings give an age, old ones.

    Unlike a request's, they are kept with ``CONN_MAX_AGE = 0`` too: a worker's thread has a next job, and connecting
    costs as much as the job. `close_kept` closes those that are at rest.
    """
    for current in connections.all(initialized_only=True):
        if current.in_atomic_block:
            continue
        with _keeping:
            (_kept.add if at_rest else _kept.discard)(current)
        if current.errors_occurred or current.settings_dict["CONN_MAX_AGE"] != 0:
            current.close_if_unusable_or_obsolete()


def let_go() -> None:
    """Close this thread's connections, or give them back to their pool; the next statement opens another."""
    for current in connections.all(initialized_only=True):
        if not current.in_atomic_block:
            current.close()


def close_kept() -> None:
    """Close the connections of threads that ran jobs and run none now.

    One in use is left alone: SQLite ends the process when a connection is closed under a statement.
    """
    with _keeping:
        while _kept:
            current = _kept.pop()
            current.inc_thread_sharing()
            try:
                current.close()
            finally:
                current.dec_thread_sharing()


def dedicated_connection() -> None:
    """Give this thread an unpooled connection of its own, so that heartbeats never wait for a pool that jobs
    exhaust.
    """
    using = database()
    current = connections[using]
    if "pool" in (current.settings_dict.get("OPTIONS") or {}):
        own = current.copy()
        own.settings_dict["OPTIONS"] = {
            key: value for key, value in own.settings_dict["OPTIONS"].items() if key != "pool"
        }
        connections[using] = own
