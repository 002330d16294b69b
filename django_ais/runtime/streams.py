"""Follow a run: rows after N, then the bus; what is missing, late or lost is read from the rows.

The database has the order: a run's events are 1, 2, 3, ... A bus may lose, repeat and reorder, or be down.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TypeVar
from uuid import UUID

from django.db import close_old_connections, connections

from django_ais import registry, tenancy
from django_ais.buses import Hint, Subscription
from django_ais.events import TERMINAL_TYPES, Envelope
from django_ais.exceptions import AisError, JobNotFoundError
from django_ais.models import AgentEvent, JobCounters, JobPacket
from django_ais.runtime import database
from django_ais.states import JobStatus

logger = logging.getLogger("django_ais.streams")

PAGE = 500  # rows read at a time
PROBE_SECONDS = 2.0  # a silent bus is not believed for longer: the last frame of all may be the one that was lost
READERS = 4  # threads that read for all followers of a process
MOST_HELD = 1_000  # frames kept while an earlier one is missing

T = TypeVar("T")
_readers: list[ThreadPoolExecutor] = []
_topics: dict[str, UUID] = {}


async def read(work: Callable[[], T]) -> T:
    """Run a query in one of a few threads whose connections are kept as the settings say."""

    def whole() -> T:
        close_old_connections()
        try:
            return work()
        finally:
            close_old_connections()

    if not _readers:
        _readers.append(ThreadPoolExecutor(READERS, thread_name_prefix="ais-reader"))
    return await asyncio.get_running_loop().run_in_executor(_readers[0], whole)


def stop_readers() -> None:
    """Close the reading threads' connections and end them; the next `read` begins anew."""
    while _readers:
        readers = _readers.pop()
        together = threading.Barrier(READERS)
        for _ in range(READERS):
            readers.submit(_close_connections, together)
        readers.shutdown()


def _close_connections(together: threading.Barrier) -> None:
    together.wait()  # so that each thread gets one
    connections.close_all()


def page(root: UUID, tenant: str, after: int, *, limit: int = PAGE) -> list[Envelope]:
    """The committed events of a run after a number, in order."""
    rows = AgentEvent.objects.using(database.database()).filter(root_id=root, seq__gt=after).order_by("seq")[:limit]
    return [
        Envelope(
            seq=row.seq, run=root, job=row.job_id, tenant=tenant, type=row.type, time=row.created_at, data=row.data
        )
        for row in rows
    ]


async def committed(topics: Iterable[str]) -> Mapping[str, tuple[UUID, int]]:
    """The run and last number of topics followed in this process (what the `database` bus asks for)."""
    runs = {_topics[topic]: topic for topic in topics if topic in _topics}
    rows = (
        JobCounters.objects.using(database.database()).filter(job_id__in=list(runs)).values_list("job_id", "last_seq")
    )
    found = await read(lambda: list(rows)) if runs else []
    return {runs[job_id]: (job_id, last) for job_id, last in found}


async def follow(run: UUID, *, after: int = 0) -> AsyncGenerator[Envelope, None]:
    """Yield a run's events after a number, live, until the run has ended: each once, in order, without a hole.

    Use it within ``contextlib.aclosing``. Raises `JobNotFoundError` if there is no such run.
    """
    found = JobPacket.objects.using(database.database()).filter(id=run)
    tenant = await read(lambda: found.values_list("tenant", flat=True).first())
    if tenant is None:
        raise JobNotFoundError(f"no run {run}")
    topic = tenancy.topic(tenant, run)
    _topics[topic] = run
    hints = await _Hints.on(topic)
    try:
        while True:
            envelope = hints.take(after + 1)
            found_rows = [envelope] if envelope else await read(lambda: page(run, tenant, after))  # noqa: B023 (awaited here)
            for row in found_rows:
                after = row.seq
                yield row
                if row.is_last:
                    return
            if not found_rows and not await hints.wait(PROBE_SECONDS) and await read(lambda: _is_over(run, after)):  # noqa: B023
                return
    finally:
        await hints.close()
        _topics.pop(topic, None)


def _is_over(run: UUID, after: int) -> bool:
    root = JobPacket.objects.using(database.database()).filter(id=run)
    status, last = root.values_list("status", "counters__last_seq").get()
    return JobStatus(status).is_terminal and last <= after


async def until_ended(job_id: UUID, run: UUID) -> None:
    """Return once a job is finished."""
    rows = JobPacket.objects.using(database.database()).filter(id=job_id)
    last = await read(lambda: JobCounters.objects.using(database.database()).get(job_id=run).last_seq)
    if JobStatus(await read(lambda: rows.values_list("status", flat=True).get())).is_terminal:
        return
    async with aclosing(follow(run, after=last)) as envelopes:
        async for envelope in envelopes:
            if envelope.job == job_id and envelope.type in TERMINAL_TYPES:
                return


class _Hints:
    """What the bus has told of one run and nobody has read yet; nothing, while the bus is down."""

    def __init__(self, subscription: Subscription | None) -> None:
        self._subscription = subscription
        self._news = asyncio.Event()
        self._held: dict[int, Envelope] = {}
        self._task = asyncio.ensure_future(self._listen(subscription)) if subscription else None

    @classmethod
    async def on(cls, topic: str) -> _Hints:
        """Subscribe, before any row is read."""
        try:
            return cls(await registry.buses["default"].subscribe([topic]))
        except AisError:
            logger.warning("the bus cannot be reached; following by the rows alone", exc_info=True)
            return cls(None)

    async def _listen(self, subscription: Subscription) -> None:
        async for hint in subscription:
            if isinstance(hint, Hint) and hint.envelope is not None and len(self._held) < MOST_HELD:
                self._held[hint.seq] = hint.envelope
            self._news.set()

    def take(self, seq: int) -> Envelope | None:
        """The event of that number, if the bus has brought it."""
        for old in [number for number in self._held if number < seq]:
            del self._held[old]
        return self._held.pop(seq, None)

    async def wait(self, seconds: float) -> bool:
        """Until there is news (True), or for so long."""
        try:
            return await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._news.clear()

    async def close(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            await self._subscription.close()
        if self._task is not None:
            self._task.cancel()
