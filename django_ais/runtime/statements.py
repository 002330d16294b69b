"""Runs a statement on a connection of Django's.

On PostgreSQL with psycopg 3 the hot statements are bound and prepared by the server: parsed and planned once for each
connection instead of once for each job. Not where a pool in transaction mode may stand between (Django's own mark for
that is ``DISABLE_SERVER_SIDE_CURSORS``), where ``prepare_threshold`` is None in the database's OPTIONS, or where
somebody watches the queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper


class Answer(NamedTuple):
    """What a statement came to: how many rows it touched, and the rows it gave."""

    touched: int
    rows: Sequence[tuple[Any, ...]] = ()


def run(current: BaseDatabaseWrapper, text: str, params: Sequence[Any]) -> Answer:
    """Run one statement. Raises Django's database errors."""
    if current.vendor == "postgresql" and not current.queries_logged and not current.execute_wrappers:
        return _run_prepared(current, text, params)
    return _run_ordinary(current, text, params)


def _run_ordinary(current: BaseDatabaseWrapper, text: str, params: Sequence[Any]) -> Answer:
    with current.cursor() as cursor:
        cursor.execute(text, params)
        return Answer(cursor.rowcount, cursor.fetchall() if cursor.description else ())


def _run_prepared(current: Any, text: str, params: Sequence[Any]) -> Answer:
    current.close_if_health_check_failed()
    current.ensure_connection()
    current.validate_thread_sharing()
    if current.needs_rollback:
        current.validate_no_broken_transaction()
    own = current.connection
    cursor = getattr(own, "_ais_cursor", None) or _own_cursor(current)
    if cursor is None:
        return _run_ordinary(current, text, params)
    before = own.prepare_threshold
    with current.wrap_database_errors:
        try:
            own.prepare_threshold = own._ais_threshold
            cursor.execute(text, params)
        finally:
            own.prepare_threshold = before  # the application's own statements are prepared as it says, or not
        has_rows = cursor.pgresult is not None and cursor.pgresult.nfields  # a `description` costs more than the rows
        return Answer(cursor.rowcount, cursor.fetchall() if has_rows else ())


def _own_cursor(current: Any) -> Any:
    """A cursor that lets the server bind, kept with its connection; None with psycopg 2."""
    from django.db.backends.postgresql import base

    kind = getattr(base, "ServerBindingCursor", None)
    if kind is None:
        return None
    settings = current.settings_dict
    may_prepare = not settings.get("DISABLE_SERVER_SIDE_CURSORS") and (
        "prepare_threshold" not in settings["OPTIONS"] or settings["OPTIONS"]["prepare_threshold"] is not None
    )
    current.connection._ais_threshold = 1 if may_prepare else None
    current.connection._ais_cursor = cursor = kind(current.connection)
    return cursor
