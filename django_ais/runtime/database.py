"""The database that jobs live in: transactions, clocks, parameters. With `sql`, all that knows a database by its
vendor.

Everything runs on the alias that the router gives for writing `JobPacket`. Times of leases and due dates come from the
database's clock where the stored form allows the comparison (PostgreSQL), else from the process's (SQLite lives on one
machine).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from django_ais.models import Election, JobPacket
from django_ais.runtime import failpoints, statements

TRIES = 8  # a deadlock is broken by the database; more than a few in a row is another trouble
DEADLOCKS = {"40P01", "40001"}  # SQLSTATE: deadlock detected, serialization failure

T = TypeVar("T")
_writers: dict[str, threading.RLock] = {}
_dates = models.DateTimeField()
_clock: Callable[[], datetime] | None = None


class Raw(NamedTuple):
    """A piece of SQL with its parameters, where a value is expected."""

    text: str
    params: tuple[Any, ...] = ()


def database() -> str:
    """The alias that jobs are written to and read from."""
    return router.db_for_write(JobPacket) if router.routers else DEFAULT_DB_ALIAS


def connection() -> BaseDatabaseWrapper:
    """This thread's connection to it."""
    return connections[database()]


def is_postgres() -> bool:
    """Whether it is PostgreSQL: SKIP LOCKED, LISTEN/NOTIFY, its own clock."""
    return connection().vendor == "postgresql"


def transact(work: Callable[[], T]) -> T:
    """Run ``work`` in a transaction of its own; again, as a whole, when the database reports a deadlock.

    Never inside a caller's transaction: what was recorded must stay recorded whatever the caller does next.
    """

    def whole() -> T:
        with _writing(database()):
            value = work()
            failpoints.hit("before_commit")
        return value

    return _patiently(whole)


def at_once(statement: Callable[[], T]) -> T:
    """Run one statement that is a transaction by itself, without the round trips of BEGIN and COMMIT; as `transact`."""

    def whole() -> T:
        failpoints.hit("before_commit")
        if connection().vendor == "sqlite" and not connection().in_atomic_block:
            with _writer(database()):
                return statement()
        return statement()

    return _patiently(whole)


def _patiently(work: Callable[[], T]) -> T:
    for _ in range(TRIES - 1):
        try:
            return work()
        except DatabaseError as error:
            if connection().in_atomic_block or not _is_deadlock(error):
                raise
    return work()


def can_combine() -> bool:
    """Whether several writes can be one statement here: PostgreSQL, outside of any transaction."""
    return is_postgres() and not connection().in_atomic_block


def address() -> dict[str, Any]:
    """libpq parameters for a connection beside Django's (PostgreSQL)."""
    parameters = connections[database()].get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    return dict(parameters)


def _is_deadlock(error: BaseException) -> bool:
    cause = error.__cause__ or error
    return getattr(cause, "sqlstate", None) in DEADLOCKS or "database is locked" in str(error)


@contextmanager
def _writing(using: str) -> Iterator[None]:
    current = connections[using]
    if current.vendor != "sqlite" or current.in_atomic_block:
        with transaction.atomic(using=using, durable=True):
            yield
        return
    # SQLite has one writer. Waiting here is fair and cheap; waiting inside SQLite is neither, and a transaction that
    # reads before it writes fails at once if somebody else wrote in between: so ours write first.
    with _writer(using), transaction.atomic(using=using, durable=True):
        if (getattr(current, "transaction_mode", None) or "DEFERRED").upper() == "DEFERRED":
            execute(f"UPDATE {table(Election)} SET owner = owner WHERE duty = ''")
        yield


def _writer(using: str) -> threading.RLock:
    return _writers.setdefault(str(connections[using].settings_dict["NAME"]), threading.RLock())


def after_commit(handler: Callable[[list[Any]], None], item: Any) -> None:
    """Call ``handler`` with this and all other items given for it, in one go, once the open transaction has committed.

    Items of a savepoint that is rolled back are dropped with it, and only those. Without a transaction it is called
    now.
    """
    current = connection()
    if not current.in_atomic_block:
        handler([item])
        return
    # Django replaces this list whenever it drops or runs callbacks, so its identity tells whether a batch is still
    # alive.
    callbacks = current.run_on_commit
    nothing: dict[Any, list[Any]] = {}
    alive, batches = getattr(current, "_ais_batches", (None, nothing))
    if alive is not callbacks:
        batches = {}
        current._ais_batches = (callbacks, batches)  # type: ignore[attr-defined]
    key = (handler, tuple(current.savepoint_ids))
    if key not in batches:
        batch: list[Any] = []
        batches[key] = batch

        def run() -> None:
            batches.pop(key, None)
            handler(batch)

        transaction.on_commit(run, using=database(), robust=True)
    batches[key].append(item)


def limit_lock_waits(seconds: float) -> None:
    """Let this thread's statements fail that would wait longer for rows that others hold (PostgreSQL)."""
    if is_postgres():
        query("SELECT set_config('lock_timeout', %s, false)", [f"{round(seconds * 1000)}ms"])


def is_in_transaction() -> bool:
    """Whether the caller holds a transaction open on the jobs' database."""
    return connection().in_atomic_block


def execute(text: str, params: Sequence[Any] = ()) -> int:
    """Run a statement; return how many rows it touched."""
    return statements.run(connection(), text, params).touched


def query(text: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement; return its rows as the database gives them."""
    return list(statements.run(connection(), text, params).rows)


def table(model: type[models.Model]) -> str:
    """A model's quoted table."""
    return connection().ops.quote_name(model._meta.db_table)


def now(offset: float = 0.0) -> Raw:
    """The time by the clock that leases are compared with, plus ``offset`` seconds."""
    if _clock is not None or not is_postgres():
        return Raw("%s", (prepared(_dates, moment() + timedelta(seconds=offset)),))
    if offset:
        return Raw("(statement_timestamp() + %s * interval '1 second')", (float(offset),))
    return Raw("statement_timestamp()")


def prepared(field: models.Field[Any, Any], value: Any) -> Any:
    """A value as this database wants it."""
    return field.get_db_prep_save(value, connection=connection())


def placeholders(values: Sequence[Any]) -> str:
    """``%s, %s, ...``; for no values something that equals nothing."""
    return ", ".join(["%s"] * len(values)) or "NULL"


def job_ids(ids: Sequence[UUID]) -> list[Any]:
    """Ids as this database wants them."""
    field = JobPacket._meta.pk
    return [prepared(field, value) for value in ids]


def as_uuid(value: Any) -> UUID:
    """An id as the database gave it."""
    return value if isinstance(value, UUID) else UUID(str(value))


def moment() -> datetime:
    """The process's time in the form that this project stores."""
    return timezone.now() if _clock is None else _clock()


@contextmanager
def clock(read: Callable[[], datetime]) -> Iterator[None]:
    """Take the time from ``read`` instead of any clock, in this process: for tests."""
    global _clock
    before, _clock = _clock, read
    try:
        yield
    finally:
        _clock = before


def seconds(count: float) -> timedelta:
    """A number of seconds as a duration."""
    return timedelta(seconds=count)
