"""Read a run's rows from async code: in a few threads whose connections are kept as the settings say."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections

from django_ais.events import Envelope
from django_ais.models import AgentEvent, JobCounters
from django_ais.runtime import database, links

PAGE = 500  # rows read at a time
FIRST_PAGE = 100  # as long as it is not known how large they are
PAGE_BYTES = 1024 * 1024  # about how much of a run is held for a client that is slow to take it
READERS = 4  # threads that read for all followers of a process

T = TypeVar("T")

_followed: dict[str, tuple[UUID, int]] = {}  # the runs that hubs of this process follow, by topic; how many hubs
_lock = threading.Lock()
_readers: list[ThreadPoolExecutor] = []


async def read(work: Callable[[], T]) -> T:
    """Run a query in one of the reading threads, which keep their connections until `stop_readers`."""

    def whole() -> T:
        links.tidy(at_rest=False)
        try:
            return work()
        finally:
            links.tidy(at_rest=True)

    with _lock:  # so that nobody stops the readers between the two
        if not _readers:
            _readers.append(ThreadPoolExecutor(READERS, thread_name_prefix="ais-reader"))
        reading = _readers[0].submit(whole)
    return await asyncio.wrap_future(reading)


def rest() -> None:
    """`stop_readers`, if no hub of this process follows anything."""
    if not _followed:
        stop_readers()


def stop_readers() -> None:
    """Close the reading threads' connections and end them; the next `read` begins anew."""
    with _lock:
        stopping = _readers.copy()
        _readers.clear()
    for readers in stopping:
        together = threading.Barrier(READERS)
        for _ in range(READERS):
            readers.submit(_close_connections, together)
        readers.shutdown()


def _close_connections(together: threading.Barrier) -> None:
    together.wait()  # so that each thread gets one
    links.tidy(at_rest=False)  # they are kept no more
    connections.close_all()


def page(root: UUID, tenant: str, after: int, *, limit: int = PAGE) -> list[Envelope]:
    """The committed events of a run after a number, in order."""
    rows = AgentEvent.objects.using(database.database()).filter(root_id=root, seq__gt=after).order_by("seq")[:limit]
    return [
        Envelope.model_construct(
            seq=row.seq, run=root, job=row.job_id, tenant=tenant, type=row.type, time=row.created_at, data=row.data
        )
        for row in rows
    ]


class Pages:
    """The rows of a run for one follower, large ones few at a time: a page waits until its client has taken it."""

    def __init__(self, run: UUID, tenant: str) -> None:
        self._run = run
        self._tenant = tenant
        self._limit = FIRST_PAGE
        self.is_last = False  # whether the page that was read is known to be the last that there was

    async def after(self, number: int) -> list[Envelope]:
        """The next page after a number."""
        found = await read(lambda: page(self._run, self._tenant, number, limit=self._limit))
        self.is_last = len(found) < self._limit
        total = 0
        for place, envelope in enumerate(found, 1):
            total += size_of(envelope)
            if total >= PAGE_BYTES and place < len(found):  # larger than those before: the rest is read again
                found, self.is_last = found[:place], False
                break
        if found:
            self._limit = max(1, min(PAGE, PAGE_BYTES * len(found) // total))
        return found


def size_of(envelope: Envelope) -> int:
    """About how many bytes an event takes."""
    return 200 + sum(len(str(value)) for value in envelope.data.values())


async def last_numbers(runs: Sequence[UUID]) -> dict[UUID, int]:
    """The number of the last committed event of several runs, in one query."""
    if not runs:
        return {}
    rows = JobCounters.objects.using(database.database()).filter(job_id__in=runs).values_list("job_id", "last_seq")
    return await read(lambda: dict(rows))


def watch(topic: str, run: UUID) -> None:
    """A hub of this process follows a run from now on; pair it with `unwatch`."""
    with _lock:
        _followed[topic] = (run, _followed.get(topic, (run, 0))[1] + 1)


def unwatch(topic: str) -> None:
    """One hub fewer follows it."""
    with _lock:
        run, hubs = _followed[topic]
        if hubs == 1:
            del _followed[topic]
        else:
            _followed[topic] = (run, hubs - 1)


class Committed:
    """What bus drivers ask the core for: what is committed, and where."""

    async def __call__(self, wanted: Iterable[str]) -> Mapping[str, tuple[UUID, int]]:
        """The run and last number of topics followed in this process (what the `database` bus asks for)."""
        runs = {found[0]: topic for topic in wanted if (found := _followed.get(topic))}
        return {runs[run]: (run, last) for run, last in (await last_numbers(list(runs))).items()}

    def address(self) -> Mapping[str, Any] | None:
        """libpq parameters of the database that has the rows; None if it is no PostgreSQL (the `postgres` bus)."""
        return database.address() if database.is_postgres() else None


committed = Committed()
