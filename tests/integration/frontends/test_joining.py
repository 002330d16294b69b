"""Following a run from a front end: joined, resumed, cut off; under WSGI and beside Django."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.asgi import get_asgi_application
from django.utils import timezone

from django_ais import answers, jobs, serving
from django_ais.asgi import application
from django_ais.frontends import starting
from django_ais.models import JobPacket
from tests.app.behaviour_workers import overwrite
from tests.integration.frontends.doors import PATHS, TOKEN, asked, body_of, both, client_of, post, runs
from tests.integration.streaming.conftest import cookie_of, in_a_thread, person
from tests.integration.streaming.exchange import exchange
from tests.unit.wire.clients import AgUiClient, VercelClient

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("project")]

# -- joining


def test_an_agui_client_joins_its_run_and_keeps_its_messages(anna):
    """Given a finished run, when its owner connects with or without a body, then the whole of it is told; with one,
    the client's messages are in the snapshot. Nobody else learns that there is such a run.
    """
    post(anna, "agui")
    path = f"/ais/agui/runs/{runs()[0].id}/connect"

    got = AgUiClient().read(body_of(client_of(anna).get(f"{path}?runId=run-1&threadId=thread-1")))
    posted = client_of(anna).post(path, asked("agui"), content_type="application/json")
    none = client_of(anna).get(f"/ais/agui/runs/{uuid4()}/connect")
    eve = client_of(person("eve")).get(path)

    custom = [(event["name"], event["value"].get("status")) for event in got.events[1:-1]]
    assert [got.events[0]["type"], got.events[-1]["type"]] == ["RUN_STARTED", "RUN_FINISHED"]
    assert custom == [("ais.run", None), ("ais.job", "succeeded"), ("ais.job", "succeeded")]
    assert got.events[0] == {"type": "RUN_STARTED", "threadId": "thread-1", "runId": "run-1"}
    assert AgUiClient().read(body_of(posted)).events[-1]["type"] == "RUN_FINISHED"
    assert (eve.status_code, eve.content) == (404, none.content)
    assert client_of(anna).get(f"{path}?runId=").status_code == 400


def test_a_job_below_the_root_is_no_run_to_connect_to(anna):
    """Given a run, when a job of it is connected to, then 404."""
    post(anna, "agui")
    child = JobPacket.objects.exclude(parent=None).get()

    assert client_of(anna).get(f"/ais/agui/runs/{child.id}/connect").status_code == 404


def test_a_chat_is_resumed_while_it_runs_and_shortly_after(anna):
    """Given a chat, when it is resumed, then its newest run is told if it is open or ended within a minute; else, and
    to anybody else, 204.
    """
    post(anna, "ai_sdk")
    path = "/ais/ai-sdk/talk/chat/chat-1/stream"

    response = client_of(anna).get(path)
    assert VercelClient().read(body_of(response)).id == str(runs()[0].id)
    assert response["X-Vercel-AI-UI-Message-Stream"] == "v1"
    for user, other in ((person("eve"), path), (None, path), (anna, path.replace("-1/", "-2/"))):
        assert client_of(user).get(other).status_code == 204
    for tenant in ("acme", "closed"):
        assert client_of(anna).get(path, headers={"X-Tenant": tenant}).status_code == 204
    overwrite(runs()[0], finished_at=timezone.now() - timedelta(seconds=starting.REPLAYED_SECONDS + 1))
    assert client_of(anna).get(path).status_code == 204


@both
def test_under_wsgi_a_stream_ends_after_a_while_and_says_that_it_was_interrupted(anna, waiting, monkeypatch, door):
    """Given a run that waits, when it is streamed under WSGI, then the answer ends by itself, with the error that lets
    a client join again.
    """
    monkeypatch.setattr(answers, "WSGI_SECONDS", 0.1)

    stream = post(anna, door).stream

    if door == "agui":
        assert AgUiClient().read(stream).events[-1]["code"] == "stream_interrupted"
    else:
        assert VercelClient().read(stream).ending == "stream_interrupted"


# -- under the wrapper


@both
def test_under_the_wrapper_a_post_starts_a_stream_that_is_served_beside_django(anna, waiting, door):
    """Given the ASGI wrapper, when Anna posts, then the stream begins, follows her run live and ends with it."""
    cookie = f"{cookie_of(anna)}; csrftoken={TOKEN}"

    async def follow() -> None:
        async with exchange(
            PATHS[door], method="POST", document=asked(door), cookie=cookie, X_CSRFToken=TOKEN
        ) as answer:
            await answer.until(lambda it: b"data: " in it.body)
            assert not answer.is_over
            run = await in_a_thread(lambda: runs()[0])
            await in_a_thread(jobs.cancel, run)
            await answer.finished(seconds=5)

        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["x-marked"] == "by the project"
        assert answer.headers.get("x-vercel-ai-ui-message-stream") == ("v1" if door == "ai_sdk" else None)
        assert "x-ais-grant" not in answer.headers
        if door == "agui":
            assert AgUiClient().read(answer.body).events[-1]["outcome"] == {"type": "cancelled"}
        else:
            assert VercelClient().read(answer.body).ending == "abort"

    asyncio.run(follow())


@both
def test_under_the_wrapper_a_post_without_the_token_is_refused(anna, waiting, door):
    """Given the wrapper and a session, when a POST comes without the token, then the project's 403, and no run."""

    async def ask() -> None:
        async with exchange(PATHS[door], method="POST", document=asked(door), cookie=cookie_of(anna)) as answer:
            await answer.finished()
            assert answer.status == 403

    asyncio.run(ask())
    assert runs() == []


@both
def test_a_server_that_stops_says_that_the_stream_was_interrupted(anna, waiting, project, door):
    """Given an open stream, when the server drains, then it ends with ``stream_interrupted``: a silent end would be
    taken for success.
    """
    project.DJANGO_AIS = {**project.DJANGO_AIS, "STREAM_DRAIN_SECONDS": 0}
    cookie = f"{cookie_of(anna)}; csrftoken={TOKEN}"

    async def follow() -> bytes:
        async with exchange(
            PATHS[door], method="POST", document=asked(door), cookie=cookie, X_CSRFToken=TOKEN
        ) as answer:
            await answer.until(lambda it: b"data: " in it.body)
            serving.open_streams().drain()
            await answer.finished(seconds=5)
            return bytes(answer.body)

    body = asyncio.run(follow())
    if door == "agui":
        assert AgUiClient().read(body).events[-1]["code"] == "stream_interrupted"
    else:
        assert VercelClient().read(body).ending == "stream_interrupted"


def test_a_run_that_is_deleted_once_it_is_granted_ends_with_an_error(anna, waiting):
    """Given a stream whose run is deleted before the first event was read, when it is served, then it says so."""
    root = jobs.start("talk", {"prompt": "x"}, user=anna)
    path = f"/ais/agui/runs/{root.id}/connect"

    async def follow() -> bytes:
        async def deleting(scope: Any, receive: Any, send: Any) -> None:
            await plain(scope, receive, send)
            await in_a_thread(JobPacket.objects.all().delete)

        plain = get_asgi_application()
        async with exchange(path, cookie=cookie_of(anna), app=application(deleting)) as answer:
            await answer.finished(seconds=5)
            return bytes(answer.body)

    assert AgUiClient().read(asyncio.run(follow())).events[-1]["code"] == "stream_interrupted"


def test_a_user_with_too_many_streams_gets_the_run_when_there_is_room(anna, waiting, project):
    """Given a user who has as many streams open as one may, when a run is started, then 429; the same request, once
    there is room, finds the run that was started.
    """
    project.DJANGO_AIS = {**project.DJANGO_AIS, "STREAM_LIMIT_PER_USER": 1}
    cookie = f"{cookie_of(anna)}; csrftoken={TOKEN}"
    request = {"method": "POST", "cookie": cookie, "X_CSRFToken": TOKEN}

    async def ask() -> None:
        async with exchange(PATHS["agui"], document=asked("agui"), **request) as first:
            await first.until(lambda it: b"data: " in it.body)
            async with exchange(PATHS["agui"], document=asked("agui", runId="run-2"), **request) as refused:
                await refused.finished()
                assert (refused.status, refused.headers["retry-after"]) == (429, "10")
        async with exchange(PATHS["agui"], document=asked("agui", runId="run-2"), **request) as second:
            await second.until(lambda it: b"data: " in it.body)

    asyncio.run(ask())
    assert len(runs()) == 2
