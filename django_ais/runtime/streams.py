"""Follow a run: every event after a number, live, each once, in order, without a hole; whatever happens to the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from django_ais.events import TERMINAL_TYPES, Envelope
from django_ais.exceptions import JobNotFoundError
from django_ais.models import JobCounters, JobPacket
from django_ais.runtime import database, reading
from django_ais.runtime.feeds import Feed
from django_ais.runtime.hub import hub
from django_ais.states import JobStatus

BATCH = 100  # events handed out between two looks at the ring


async def follow(run: UUID, *, after: int = 0) -> AsyncGenerator[Envelope, None]:
    """Yield a run's events after a number, until the run has ended.

    Use it within ``contextlib.aclosing``. Raises `JobNotFoundError` if there is no such run.
    """
    async with aclosing(batches(run, after=after)) as found:
        async for batch in found:
            for envelope in batch:
                yield envelope


async def batches(run: UUID, *, after: int = 0) -> AsyncGenerator[list[Envelope], None]:
    """`follow`, in lists. An empty list says that there was nothing for some seconds: time for a keepalive.

    A number that no event has yet counts as the last one. A finished run is read from its rows, whatever retention has
    left of them; one that is deleted ends.
    """
    tenant, last, is_over = await reading.read(lambda: _state(run))
    after = max(0, min(after, last))
    pages = reading.Pages(run, tenant)
    if is_over:
        async for page in _whole(pages, after):
            yield page
        return
    own = hub()
    feed = await own.join(run, tenant, max(0, last - reading.PAGE))
    try:
        while not feed.is_gone:
            news = feed.news
            batch = feed.since(after, limit=BATCH)
            if batch is None:
                batch = await pages.after(after)
            if batch:
                after = batch[-1].seq
                yield batch
                if batch[-1].is_last:
                    return
            elif await _is_quiet(feed, news):
                yield []
    finally:
        own.leave(feed)


async def _whole(pages: reading.Pages, after: int) -> AsyncGenerator[list[Envelope], None]:
    """What the rows have after a number."""
    while not pages.is_last and (page := await pages.after(after)):
        after = page[-1].seq
        yield page


async def _is_quiet(feed: Feed, news: asyncio.Event) -> bool:
    """Wait for the next look at the ring; True if nothing had come."""
    head = feed.head
    await news.wait()
    return feed.head == head


def _state(run: UUID) -> tuple[str, int, bool]:
    rows = JobPacket.objects.using(database.database()).filter(id=run, parent=None)
    row = rows.values_list("tenant", "counters__last_seq", "status").first()
    if row is None:
        raise JobNotFoundError(f"no run {run}")
    return row[0], row[1] or 0, JobStatus(row[2]).is_terminal


async def until_ended(job_id: UUID, run: UUID) -> None:
    """Return once a job is finished."""
    rows = JobPacket.objects.using(database.database()).filter(id=job_id)
    last = await reading.read(lambda: JobCounters.objects.using(database.database()).get(job_id=run).last_seq)
    if JobStatus(await reading.read(lambda: rows.values_list("status", flat=True).get())).is_terminal:
        return
    async with aclosing(follow(run, after=last)) as envelopes:
        async for envelope in envelopes:
            if envelope.job == job_id and envelope.type in TERMINAL_TYPES:
                return
