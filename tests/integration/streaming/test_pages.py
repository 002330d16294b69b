"""A follower behind the newest events reads the rows in pages, which wait until its client has taken them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_ais import jobs
from django_ais.runtime import reading
from tests.app.behaviour_workers import settings_of, worker_of

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def pages_of(settings: Any) -> Any:
    """The pages of a finished run that says lines of so many characters each."""
    settings.DJANGO_AIS = settings_of("immediate")

    def read(*lengths: int) -> list[list[Any]]:
        run = jobs.dispatch(worker_of(lambda job: [job.log("x" * length) for length in lengths] and None), {})
        return asyncio.run(all_pages(run))

    return read


async def all_pages(run: Any) -> list[list[Any]]:
    pages, found = reading.Pages(run.id, ""), list[list[Any]]()
    while not pages.is_last:
        found.append(await pages.after(found[-1][-1].seq if found else 0))
    return found


def test_small_events_are_read_many_at_a_time(pages_of):
    """Given a run of a thousand lines, when it is read, then it takes three pages: one to see how large they are."""
    pages = pages_of(*[20] * 1_000)

    assert [event.seq for page in pages for event in page] == list(range(1, sum(map(len, pages)) + 1))
    assert [len(page) for page in pages][:2] == [reading.FIRST_PAGE, reading.PAGE]
    assert len(pages) == 3


@pytest.mark.parametrize("small", [0, 300], ids=["from the first", "after small ones"])
def test_large_events_are_read_few_at_a_time(pages_of, small):
    """Given a run with lines of 40,000 characters, when it is read, then no page is larger than a megabyte or so, and
    none is missing.
    """
    pages = pages_of(*[20] * small, *[40_000] * 200)

    assert [event.seq for page in pages for event in page] == list(range(1, sum(map(len, pages)) + 1))
    assert sum(map(len, pages)) > small + 200
    assert max(sum(map(reading.size_of, page)) for page in pages) < 1.1 * reading.PAGE_BYTES
