"""A real server: idle followers cost no thread and no connection; the log shows no ticket; SIGTERM ends in order."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from django_ais import access, jobs
from tests.integration.streaming.client import Answer, asked
from tests.integration.streaming.conftest import cookie_of, in_a_thread
from tests.integration.streaming.servers import UvicornServer

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("project")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UvicornServer]:
    own = {"STREAM_LIMIT_PER_USER": 100_000, "STREAM_LIMIT": 100_000, "STREAM_DRAIN_SECONDS": 1}
    with UvicornServer(tmp_path, AIS_TEST_BUS="database", AIS_TEST_SETTINGS=json.dumps(own)) as started:
        yield started


async def first_event(answer: Answer) -> Any:
    """Read up to the first event and leave the rest unread."""
    frames = answer.frames()
    return (await anext(frames)).document


async def counted(server: UvicornServer) -> dict[str, Any]:
    async with asked(server.port, "/counts") as answer:
        found: dict[str, Any] = await answer.json()
        return found


@pytest.mark.one_database("postgres")
@pytest.mark.parametrize("many", [500, pytest.param(5_000, marks=[pytest.mark.full, pytest.mark.timeout(300)])])
def test_idle_followers_cost_no_thread_and_no_connection(server, anna, waiting, many, record_property, capsys):
    """Given many followers of a run that says nothing, when all are connected, then threads and database connections
    of the server are what they were with a few, and each follower costs a few kilobytes; the next event reaches all.
    """
    cookie = cookie_of(anna)

    async def connect(stack: AsyncExitStack, gate: asyncio.Semaphore) -> Answer:
        async with gate:
            path = f"/ais/runs/{waiting.id}/events"
            answer = await stack.enter_async_context(asked(server.port, path, cookie=cookie))
            assert answer.status == 200
            assert (await first_event(answer))["type"] == "job.queued"
            return answer

    async def follow() -> Any:
        async with AsyncExitStack() as stack:
            gate = asyncio.Semaphore(20)
            for _ in range(50):
                await connect(stack, gate)
            await asyncio.sleep(1)
            before = await counted(server)
            answers = await asyncio.gather(*[connect(stack, gate) for _ in range(many)])
            await asyncio.sleep(1)
            after = await counted(server)
            await asyncio.sleep(5)
            later = await counted(server)
            await in_a_thread(jobs.cancel, waiting.id)
            began = time.monotonic()
            last = await asyncio.gather(*[first_event(answer) for answer in answers])
            return before, after, later, {event["type"] for event in last}, time.monotonic() - began

    before, after, later, last, seconds = asyncio.run(follow())
    each = (after["memory"] - before["memory"]) / many
    with capsys.disabled():
        print(
            f"\n{many} idle followers: {each / 1024:.1f} KiB each; threads {before['threads']} -> {after['threads']}; "
            f"database connections {before['databases']} -> {after['databases']}; "
            f"{(later['cpu'] - after['cpu']) / 5:.1%} of a core while idle; the next event at all in {seconds:.2f} s"
        )

    assert last == {"job.cancelled"}
    assert after["threads"] <= before["threads"] + 8  # the pools that grow to their bound
    assert after["databases"] <= before["databases"] + 8
    assert each < (25 if many >= 5_000 else 64) * 1024  # with few, what the process grows by once weighs on each


def test_the_access_log_shows_no_ticket(server, anna, waiting):
    """Given a stream that was opened with a ticket, when the server logs it, then the ticket is not in the log."""
    ticket = access.ticket(access.Visitor(anna, ""), waiting.id)

    async def follow() -> None:
        async with asked(server.port, f"/ais/runs/{waiting.id}/events?ticket={ticket}") as answer:
            assert (await first_event(answer))["type"] == "job.queued"

    asyncio.run(follow())

    assert "ticket=***" in server.log
    assert ticket not in server.log


def test_sigterm_ends_the_streams_and_then_the_server(server, anna, waiting):
    """Given followers, when the server is told to stop, then their streams end whole, with the time to come back, and
    the server ends well before its own limit.
    """
    cookie = cookie_of(anna)

    async def follow() -> list[Answer]:
        async with AsyncExitStack() as stack:
            path = f"/ais/runs/{waiting.id}/events"
            answers = [await stack.enter_async_context(asked(server.port, path, cookie=cookie)) for _ in range(20)]
            for answer in answers:
                await first_event(answer)
            stopping = asyncio.ensure_future(asyncio.to_thread(server.stop))
            rest = [[frame async for frame in answer.frames()] for answer in answers]
            assert rest == [[]] * 20
            assert await asyncio.wait_for(stopping, 8) in (0, -signal.SIGTERM)
            return answers

    for answer in asyncio.run(follow()):
        assert answer.comments[-1] == "interrupted"
        assert answer.retry is not None
