"""One feed and rows that the test writes: when are they read, and what becomes of frames that come too early?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from django_ais.buses import Hint
from django_ais.events import Envelope
from django_ais.runtime import feeds, reading
from django_ais.runtime.feeds import Feed

RUN = UUID("01890000-0000-7000-8000-000000000001")


def event(seq: int, text: str = "x") -> Envelope:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Envelope(seq=seq, run=RUN, job=RUN, tenant="", type="message.delta", time=moment, data={"text": text})


def hint(seq: int) -> Hint:
    return Hint("t", RUN, seq, event(seq))


class Rows:
    """The rows of a run, and how often they were read; `gate` holds a reading up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[Envelope] = []
        self.readings = 0
        self.gate = asyncio.Event()
        self.gate.set()
        monkeypatch.setattr(reading, "page", self._page)
        monkeypatch.setattr(reading, "read", self._read)

    def _page(self, run: UUID, tenant: str, after: int) -> list[Envelope]:
        self.readings += 1
        return [row for row in self.rows if row.seq > after]

    async def _read(self, work: Callable[[], Any]) -> Any:
        found = work()
        await self.gate.wait()
        return found


async def until(question: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not question():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.005)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Feed, Rows], Awaitable[None]]], None]:
    """Call a test with a feed at number 0."""

    def run(test: Callable[[Feed, Rows], Awaitable[None]]) -> None:
        async def whole() -> None:
            feed = Feed(RUN, "", 0)
            await test(feed, Rows(monkeypatch))
            feed.close()

        asyncio.run(whole())

    return run


def test_frames_in_order_are_taken_without_reading(run):
    """Given the next numbers, repeated, when they are offered, then they are in the ring once, and no row was read."""

    async def test(feed: Feed, rows: Rows) -> None:
        for seq in (1, 2, 2, 1, 3):
            feed.offer(hint(seq))
        assert [each.seq for each in feed.since(0, limit=10) or []] == [1, 2, 3]
        assert rows.readings == 0

    run(test)


def test_a_frame_that_came_too_early_waits_for_the_one_before_it(run):
    """Given number 2 before 1, when 1 comes, then both are there at once, and no row was read."""

    async def test(feed: Feed, rows: Rows) -> None:
        feed.offer(hint(2))
        assert feed.head == 0
        feed.offer(hint(1))
        assert feed.head == 2
        await asyncio.sleep(2 * feeds.HELD_SECONDS)
        assert rows.readings == 0

    run(test)


def test_what_a_frame_waits_for_is_read_after_a_moment(run):
    """Given number 2 alone, when 1 does not come for 150 ms, then the rows are read once."""

    async def test(feed: Feed, rows: Rows) -> None:
        rows.rows = [event(1)]
        feed.offer(hint(2))
        await until(lambda: feed.head == 2)
        assert rows.readings == 1

    run(test)


def test_a_doubt_that_comes_while_rows_are_read_has_them_read_again(run):
    """Given a reading under way that has missed a row, when somebody says that there is more, then it is read too."""

    async def test(feed: Feed, rows: Rows) -> None:
        rows.gate.clear()
        feed.offer(Hint("t", RUN, 1))
        await until(lambda: rows.readings == 1)
        rows.rows = [event(1)]
        feed.offer(Hint("t", RUN, 1))
        rows.gate.set()
        await until(lambda: feed.head == 1)

    run(test)


def test_false_hints_cost_a_reading_in_150_ms(run):
    """Given hints of a number that is not there, when a hundred come within half a second, then the rows were read a
    few times.
    """

    async def test(feed: Feed, rows: Rows) -> None:
        for _ in range(100):
            feed.offer(Hint("t", RUN, 10**9))
            await asyncio.sleep(0.005)
        assert 2 <= rows.readings <= 6

    run(test)


def test_a_follower_behind_the_ring_is_told_so(run):
    """Given more events than the ring holds, when a follower asks for the first, then it is sent to the rows; one
    within gets its part.
    """

    async def test(feed: Feed, rows: Rows) -> None:
        for seq in range(1, feeds.RING_EVENTS + 11):
            feed.offer(hint(seq))
        assert feed.tail == 10
        assert feed.since(9, limit=10) is None
        assert [each.seq for each in feed.since(10, limit=2) or []] == [11, 12]
        assert feed.since(feed.head, limit=10) == []

    run(test)


def test_a_ring_of_large_events_is_bounded_in_bytes(run):
    """Given events of 100 kB, when twenty have come, then the ring holds about a megabyte of them."""

    async def test(feed: Feed, rows: Rows) -> None:
        for seq in range(1, 21):
            feed.offer(Hint("t", RUN, seq, event(seq, "x" * 100_000)))
        assert 9 <= feed.head - feed.tail <= 11

    run(test)
