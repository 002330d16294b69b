"""The ASGI wrapper: one authorising request through the project, then a stream beside it; keepalive, rotation, slow and
vanished clients, limits, drain.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.asgi import get_asgi_application

from django_ais import access, jobs, serving
from django_ais.asgi import application
from django_ais.runtime import hub as hubs
from tests.app.behaviour_workers import settings_of
from tests.integration.streaming.conftest import cookie_of, in_a_thread, person
from tests.integration.streaming.exchange import exchange

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("project")]


def address(job: Any, query: str = "") -> str:
    return f"/ais/runs/{job.id}/events{query}"


def has(count: int) -> Any:
    return lambda answer: len(answer.events) >= count


def test_a_stream_follows_a_run_live_and_ends_with_it(cookie, waiting):
    """Given a follower of a run that waits, when the run is cancelled, then the event comes at once and the answer
    ends; the project's own headers are on it.
    """

    async def follow() -> None:
        async with exchange(address(waiting), cookie=cookie) as answer:
            await answer.until(has(1))
            await in_a_thread(jobs.cancel, waiting.id)
            await answer.finished(seconds=2)

            assert (answer.status, answer.types, answer.is_over) == (200, ["job.queued", "job.cancelled"], True)
            assert answer.headers["x-marked"] == "by the project"
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store, no-transform"
            assert "x-ais-grant" not in answer.headers
            assert "content-length" not in answer.headers

    asyncio.run(follow())


def test_everything_else_is_the_projects_own_answer(cookie, waiting):
    """Given the wrapper, when a page, a run of nobody's, HEAD, JSON or a foreign host is asked for, then the answer is
    the project's, as without the wrapper.
    """

    async def ask() -> None:
        for path, headers in (
            ("/hello", {}),
            ("/nowhere", {}),
            (address(waiting), {}),
            (address(waiting), {"cookie": cookie, "Accept": "application/json"}),
            (address(waiting, "?after=x"), {"cookie": cookie}),
            (address(waiting), {"cookie": cookie, "Host": "evil.example"}),
        ):
            async with exchange(path, **headers) as wrapped, exchange(path, app=plain(), **headers) as bare:
                await wrapped.finished()
                await bare.finished()
                assert (wrapped.status, wrapped.headers, wrapped.body) == (bare.status, bare.headers, bare.body)
        async with exchange(address(waiting), cookie=cookie, method="HEAD") as head:
            await head.finished()
            assert (head.status, head.body) == (200, b"")
        async with exchange(address(waiting), cookie=cookie, Host="evil.example") as refused:
            await refused.finished()
            assert refused.status == 400

    asyncio.run(ask())


def plain() -> Any:
    return get_asgi_application()


def test_what_a_middleware_answers_instead_starts_no_stream(cookie, waiting):
    """Given a middleware that lays its own page over the view's answer, when a stream is asked for, then the page
    comes, although the view had allowed the stream.
    """

    async def ask() -> None:
        async with exchange(address(waiting), cookie=cookie, X_Maintenance="1") as answer:
            await answer.finished()
            assert (answer.status, answer.body) == (200, b"closed for today")

    asyncio.run(ask())


def test_a_header_cannot_forge_a_grant(waiting):
    """Given a client that sends the grant's header itself, when it asks for a run of somebody else, then 404."""

    async def ask() -> None:
        async with exchange(address(waiting), **{"X-Ais-Grant": "x", "django_ais.entrance": "x"}) as answer:
            await answer.finished()
            assert answer.status == 404

    asyncio.run(ask())


def test_clients_that_come_back_together_take_turns_inside_of_django(cookie, waiting, settings):
    """Given forty followers at once, when they are authorised, then no more than sixteen are inside of Django at a
    time, and all get their stream.
    """
    inside: list[int] = [0, 0]

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        async def leave(message: Any) -> None:
            if message["type"] == "http.response.start":
                inside[0] -= 1
            await send(message)

        inside[0] += 1
        inside[1] = max(inside)
        await django_app(scope, receive, leave)

    settings.DJANGO_AIS = settings_of(STREAM_LIMIT_PER_USER=100)
    django_app, app = plain(), application(counting)

    async def follow() -> None:
        async with AsyncExitStack() as stack:
            answers = [
                await stack.enter_async_context(exchange(address(waiting), cookie=cookie, app=app)) for _ in range(40)
            ]
            for answer in answers:
                await answer.until(has(1), seconds=20)

    asyncio.run(follow())

    assert 2 <= inside[1] <= 16


def test_the_ticket_is_not_left_for_the_access_log(cookie, anna, waiting):
    """Given a ticket in an address, when the stream is open, then the server's scope, which its log shows, has none."""
    ticket = access.ticket(access.Visitor(anna, ""), waiting.id)

    async def ask() -> None:
        async with exchange(address(waiting, f"?after=0&ticket={ticket}")) as answer:
            await answer.until(has(1))
            assert answer.scope["query_string"] == b"after=0&ticket=***"

    asyncio.run(ask())


def test_a_silent_stream_says_that_it_is_alive(cookie, waiting, settings, monkeypatch):
    """Given a run that says nothing, when the keepalive is due, then a comment comes, and no event."""
    settings.DJANGO_AIS = settings_of(STREAM_KEEPALIVE_SECONDS=0.1)
    monkeypatch.setattr(hubs, "PROBE_SECONDS", 0.05)

    async def follow() -> None:
        async with exchange(address(waiting), cookie=cookie) as answer:
            await answer.until(lambda answer: answer.body.count(b": keepalive\n\n") >= 2)
            assert answer.types == ["job.queued"]

    asyncio.run(follow())


def test_an_old_stream_ends_between_two_frames_and_can_be_resumed(cookie, waiting, settings):
    """Given a stream that has reached its age, when it is closed, then it says when to come back, and the client reads
    on where it was.
    """
    settings.DJANGO_AIS = settings_of(STREAM_ROTATION_SECONDS=0.5)

    async def follow() -> None:
        async with exchange(address(waiting), cookie=cookie) as answer:
            await answer.finished(seconds=5)
            assert answer.is_over
            assert answer.types == ["job.queued"]
            assert b": interrupted\nretry: " in answer.body
        await in_a_thread(jobs.cancel, waiting.id)
        async with exchange(address(waiting), cookie=cookie, Last_Event_ID="1") as answer:
            await answer.finished()
            assert answer.types == ["job.cancelled"]

    asyncio.run(follow())


def test_a_client_that_takes_nothing_is_let_go(cookie, waiting, settings):
    """Given a client whose connection is full, when it has taken nothing for the time it has, then its stream is over
    and its place free.
    """
    settings.DJANGO_AIS = settings_of(STREAM_SEND_TIMEOUT_SECONDS=0.2)

    async def follow() -> None:
        async with exchange(address(waiting), cookie=cookie) as answer:
            await answer.until(has(1))
            answer.is_stuck = True
            await in_a_thread(jobs.cancel, waiting.id)
            await answer.finished(seconds=5)
            assert not answer.is_over
            assert serving.open_streams().open == set()

    asyncio.run(follow())


def test_nothing_is_left_of_a_client_that_hung_up(cookie, waiting):
    """Given a follower, when its client hangs up, then its task is over, its place free, and the run not followed."""

    async def follow() -> None:
        async with exchange(address(waiting), cookie=cookie) as answer:
            await answer.until(has(1))
            answer.hang_up()
            await answer.finished(seconds=2)
            assert serving.open_streams().open == set()
            assert hubs.hub().feeds == {}

    asyncio.run(follow())


def test_a_permission_taken_away_closes_the_stream(waiting, monkeypatch):
    """Given a viewer by permission and the owner, when the permission is taken away, then the viewer's stream ends
    within the time between two checks, and the owner's goes on.
    """
    monkeypatch.setattr(serving, "RECHECK_SECONDS", 0.5)
    viewer = person("viewer")
    viewer.user_permissions.set(Permission.objects.filter(codename="view_jobpacket"))
    cookies = [cookie_of(viewer), cookie_of(waiting.user)]

    async def follow() -> None:
        async with (
            exchange(address(waiting), cookie=cookies[0]) as answer,
            exchange(address(waiting), cookie=cookies[1]) as owners,
        ):
            await answer.until(has(1))
            await owners.until(has(1))
            await in_a_thread(viewer.user_permissions.clear)
            await answer.finished(seconds=3)
            assert answer.is_over
            await in_a_thread(jobs.cancel, waiting.id)
            await owners.finished()
            assert (answer.types, owners.types) == (["job.queued"], ["job.queued", "job.cancelled"])

    asyncio.run(follow())


def test_a_user_has_so_many_streams_and_a_process_so_many(cookie, waiting, settings):
    """Given limits of two a user and three a process, when more are asked for, then 429 and 503 say when to try again;
    a place that became free is given again.
    """
    settings.DJANGO_AIS = settings_of(STREAM_LIMIT_PER_USER=2, STREAM_LIMIT=3)
    boss = person("boss", is_superuser=True)
    other = cookie_of(boss)

    async def follow() -> None:
        async with exchange(address(waiting), cookie=cookie) as first, exchange(address(waiting), cookie=cookie) as two:
            await first.until(has(1))
            await two.until(has(1))
            async with exchange(address(waiting), cookie=cookie) as third:
                await third.finished()
                assert (third.status, third.headers["retry-after"]) == (429, "10")
                assert third.json["error"]["code"] == "too_many_streams"
            async with exchange(address(waiting), cookie=other) as his:
                await his.until(has(1))
                async with exchange(address(waiting), cookie=other) as fourth:
                    await fourth.finished()
                    assert (fourth.status, fourth.headers["retry-after"]) == (503, "10")
            first.hang_up()
            await first.finished()
            async with exchange(address(waiting), cookie=cookie) as again:
                await again.until(has(1))

    asyncio.run(follow())


def test_a_long_poll_holds_no_thread_and_ends_with_the_news(cookie, waiting):
    """Given a long-poll, when the run is cancelled, then it is answered with the event, as JSON; another that waits in
    vain is answered with none.
    """

    async def follow() -> None:
        query = {"cookie": cookie, "Accept": "application/json"}
        async with exchange(address(waiting, "?after=1&wait=20"), **query) as answer:
            async with exchange(address(waiting, "?after=1&wait=1"), **query) as vain:
                await vain.finished()
                assert (vain.status, vain.json["events"], vain.json["next"]) == (200, [], 1)
            await in_a_thread(jobs.cancel, waiting.id)
            await answer.finished(seconds=2)
            assert [event["type"] for event in answer.json["events"]] == ["job.cancelled"]
            assert answer.json["is_over"]
            assert answer.headers["content-type"] == "application/json"

    asyncio.run(follow())


def test_a_stopping_server_ends_its_streams_spread_over_the_drain(cookie, waiting, settings):
    """Given ten streams, when the server's lifespan ends, then all end within the drain's seconds and not all at once;
    one that comes still is told to come back instead of being refused for good.
    """
    settings.DJANGO_AIS = settings_of(STREAM_DRAIN_SECONDS=2)
    app = application(plain())
    ends: list[float] = []

    async def follow() -> None:
        clock = asyncio.get_running_loop().time
        async with exchange(address(waiting), cookie=cookie, app=app) as first:
            others = [exchange(address(waiting), cookie=cookie, app=app) for _ in range(9)]
            answers = [first, *[await other.__aenter__() for other in others]]
            for answer in answers:
                await answer.until(has(1))
                answer.task.add_done_callback(lambda _: ends.append(clock()))
            began = clock()
            said = await lifespan(app)
            for answer in answers:
                await answer.finished(seconds=4)
            assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
            assert all(b": interrupted\nretry: " in answer.body for answer in answers)
            async with exchange(address(waiting), cookie=cookie, app=app) as late:
                await late.finished()
                assert (late.status, b"retry: " in late.body) == (200, True)
            for other in others:
                await other.__aexit__(None, None, None)
        assert max(ends) - began < 3
        assert max(ends) - min(ends) > 0.4

    asyncio.run(follow())


async def lifespan(app: Any) -> list[str]:
    """Start and stop an application as a server does; what it answered."""
    said: list[str] = []
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        said.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    return said


def test_without_the_wrapper_django_streams_by_itself(cookie, waiting):
    """Given the project's own ASGI application, unwrapped, when a run is followed, then it is streamed too."""

    async def follow() -> None:
        async with exchange(address(waiting), cookie=cookie, app=plain()) as answer:
            await answer.until(has(1))
            await in_a_thread(jobs.cancel, waiting.id)
            await answer.finished()
            assert answer.types == ["job.queued", "job.cancelled"]

    asyncio.run(follow())
