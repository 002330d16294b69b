"""The clients of AG-UI and of the Vercel AI SDK, at the versions there are, against a real server: a run that they
start and follow live, join in the middle, see fail, see cancelled, and see retried in the middle of a message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_ais import jobs
from django_ais.conformance.servers import MissingServer
from django_ais.models import JobPacket
from tests.app.behaviour_workers import imported
from tests.app.models import Effect
from tests.harness import node
from tests.integration.clients import site
from tests.integration.streaming.conftest import cookie_of, person, project  # noqa: F401 (a fixture)
from tests.integration.streaming.servers import UvicornServer

pytestmark = [
    pytest.mark.one_database("sqlite"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("project"),
]

AG_UI = ["@ag-ui/client", "ag-ui-client-0"]
ENDINGS = {"@ag-ui/client": ({"type": "cancelled"}, None), "ag-ui-client-0": (None, "cancelled")}
AI_SDK = ["ai", "ai-6", "ai-5"]
TOKEN = "t" * 32
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the clients are. Not run without Node, in CI too: it cannot be had from a wheel."""
    try:
        return node.clients()
    except MissingServer as error:
        pytest.skip(f"NOT RUN: {error}")


@pytest.fixture
def anna() -> Any:
    return person("anna")


def serving(folder: Path, **more: Any) -> UvicornServer:
    """A server that runs what is started in its own process."""
    own = {"AUTHORIZER": "tests.integration.clients.site.may", "STREAM_DRAIN_SECONDS": 0.1, **more}
    return UvicornServer(
        folder, app="tests.integration.clients.served:application",
        AIS_TEST_QUEUE="memory", AIS_TEST_BUS="database", AIS_TEST_SETTINGS=json.dumps(own),
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path, django_db_setup: None) -> Iterator[UvicornServer]:
    """The server of all tests that do not need their own."""
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def start(server: UvicornServer, anna: Any, folder: Path) -> Start:
    """Start a client on an address of the server, as Anna's browser."""
    return starting(server, anna, folder)


def starting(server: UvicornServer, anna: Any, folder: Path) -> Start:
    """How to start clients on a server. Anna may start the workflow that talks."""
    imported(site.TALK)
    headers = {"Cookie": f"{cookie_of(anna)}; csrftoken={TOKEN}", "X-CSRFToken": TOKEN}

    def start(script: str, client: str, path: str, **task: Any) -> node.Script:
        url = f"http://127.0.0.1:{server.port}/ais/{path}"
        return node.Script(folder, script, {"client": client, "url": url, "headers": headers, **task})

    return start


def agui(start: Start, client: str, path: str = "agui/talk", **task: Any) -> Any:
    return start("agui.mjs", client, path, **task)


def ai_sdk(start: Start, client: str, mood: str = "good", **task: Any) -> Any:
    return start("ai_sdk.mjs", client, "ai-sdk/talk/chat", body={"inputs": {"mood": mood}}, **task)


def let_go() -> None:
    """Let the job say the second half."""
    Effect.objects.create(job_id="", name="half")


def run_of() -> Any:
    """The one run there is."""
    return JobPacket.objects.roots().get()


def events_of(script: Any) -> list[str]:
    return [told["event"]["type"] for told in script.told if "event" in told]


def texts(told: Any) -> list[str]:
    """What the assistant says in the messages that were told last."""
    said = []
    for message in told.get("messages", ()):
        if message["role"] == "assistant":
            said += [message["content"]] if message.get("content") else []
            said += [part["text"] for part in message.get("parts", ()) if part["type"] == "text"]
    return said


def hears(text: str) -> Any:
    return lambda told: text in texts(told)


# -- AG-UI


@pytest.mark.parametrize("client", AG_UI)
def test_agui_follows_a_run_that_it_starts(start, client):
    """Given a workflow, when the client runs it, then it has the text as it comes, the thought and the tool call, and
    ends well.
    """
    with agui(start, client) as script:
        script.until(hears("Hello, "))
        let_go()
        last = script.finish()

    assert texts(last) == ["Hello, Anna 😀"]
    assert [message["role"] for message in last["messages"]] == ["user", "reasoning", "assistant", "tool", "assistant"]
    assert (events_of(script)[0], events_of(script)[-1]) == ("RUN_STARTED", "RUN_FINISHED")
    assert not any("failed" in told or "thrown" in told for told in script.told)


@pytest.mark.parametrize("client", AG_UI)
def test_agui_joins_a_run_in_the_middle(start, client):
    """Given a client that has the user's message alone, when it joins a run that speaks, then the text is whole."""
    with agui(start, client) as first:
        first.until(hears("Hello, "))
        run = run_of()
        with agui(start, client, f"agui/runs/{run.id}/connect", joins=True) as script:
            script.until(hears("Hello, "))
            let_go()
            last = script.finish()
        first.finish()

    assert texts(last) == ["Hello, Anna 😀"]
    assert [message["role"] for message in last["messages"]] == ["user", "reasoning", "assistant", "tool", "assistant"]
    assert "MESSAGES_SNAPSHOT" in events_of(script)
    assert events_of(script)[-1] == "RUN_FINISHED"


@pytest.mark.parametrize("client", AG_UI)
def test_agui_sees_a_failure(start, client):
    """Given a run that fails, when the client follows it, then it is told so, with the safe text alone."""
    with agui(start, client, input={"forwardedProps": {"inputs": {"mood": "bad"}}}) as script:
        script.until(hears("Hello, "))
        let_go()
        script.finish()

    assert events_of(script)[-1] == "RUN_ERROR"
    assert "sk-123" not in str(script.told)


@pytest.mark.parametrize("client", AG_UI)
def test_agui_sees_a_cancellation(start, client):
    """Given a run that is cancelled, when the client follows it, then it is told so, in the words of its version."""
    with agui(start, client) as script:
        script.until(hears("Hello, "))
        jobs.cancel(run_of())
        last = script.finish()

    ended = [told["event"] for told in script.told if "event" in told][-1]
    assert (ended.get("outcome"), ended.get("code")) == ENDINGS[client]
    assert texts(last) == ["Hello, "]


@pytest.mark.parametrize("client", AG_UI)
def test_agui_shows_the_text_of_a_retried_attempt_once(start, client):
    """Given an attempt that fails in the middle of a message, when the next one speaks, then its text alone stays."""
    with agui(start, client, input={"forwardedProps": {"inputs": {"mood": "retried"}}}) as script:
        script.until(hears("Go aw"))
        let_go()
        last = script.finish()

    assert texts(last) == ["Hello, Anna 😀"]
    assert events_of(script)[-1] == "RUN_FINISHED"


# -- Vercel AI SDK


@pytest.mark.parametrize("client", AI_SDK)
def test_use_chat_follows_a_run_that_it_starts(start, client):
    """Given a workflow, when the client sends a message, then the answer is one message whose id is the run's."""
    with ai_sdk(start, client) as script:
        script.until(hears("Hello, "))
        let_go()
        last = script.finish()

    assert (texts(last), last["status"]) == (["Hello, Anna 😀"], "ready")
    assert [message["id"] for message in last["messages"]][1:] == [str(run_of().id)]
    kinds = [part["type"] for part in last["messages"][1]["parts"]]
    assert [kind for kind in kinds if kind != "data-ais-job"] == ["step-start", "reasoning", "tool-lookup", "text"]
    assert not any("thrown" in told for told in script.told)
    greeted = [
        told["data"]["data"] for told in script.told if told.get("data", {}).get("type") == "data-x-shop-greeted"
    ]
    assert [data["politely"] for data in greeted] == [True]


@pytest.mark.parametrize("client", AI_SDK)
def test_use_chat_resumes_in_the_middle(start, client):
    """Given a client that has half an answer, when it resumes, then the answer is whole and there once."""
    with ai_sdk(start, client) as first:
        half = first.until(hears("Hello, "))
        with ai_sdk(start, client, messages=half["messages"], resumes=True) as script:
            script.until(hears("Hello, "))
            let_go()
            last = script.finish()
        first.finish()

    assert (texts(last), last["status"]) == (["Hello, Anna 😀"], "ready")
    assert len(last["messages"]) == 2


@pytest.mark.parametrize("client", AI_SDK)
def test_use_chat_sees_a_failure(start, client):
    """Given a run that fails, when the client follows it, then it is told so, with the safe text alone."""
    with ai_sdk(start, client, "bad") as script:
        script.until(hears("Hello, "))
        let_go()
        last = script.finish()

    assert last["status"] == "error"
    assert "sk-123" not in str(script.told)


@pytest.mark.parametrize("client", AI_SDK)
def test_use_chat_sees_a_cancellation(start, client):
    """Given a run that is cancelled, when the client follows it, then the answer ends where it was."""
    with ai_sdk(start, client) as script:
        script.until(hears("Hello, "))
        jobs.cancel(run_of())
        last = script.finish()

    assert (texts(last), last["status"]) == (["Hello, "], "ready")


@pytest.mark.parametrize("client", AI_SDK)
def test_use_chat_shows_the_text_of_a_retried_attempt_once(start, client):
    """Given an attempt that fails in the middle of a message, when the client comes back to the interrupted stream,
    then the text of the next attempt alone is there.
    """
    with ai_sdk(start, client, "retried", comesBack=True) as script:
        script.until(hears("Go aw"))
        let_go()
        last = script.finish()

    assert (texts(last), last["status"]) == (["Hello, Anna 😀"], "ready")


# -- a server that cuts its streams


def test_clients_come_back_to_streams_that_are_cut(anna, folder, tmp_path):
    """Given a server that ends each stream after a second, when runs take longer, then both clients are told so, come
    back, and have the whole text once.
    """
    with serving(tmp_path, STREAM_ROTATION_SECONDS=1) as server:
        start = starting(server, anna, folder)
        with agui(start, AG_UI[0], comesBack=True) as first, ai_sdk(start, AI_SDK[0], comesBack=True) as second:
            first.until(lambda told: told.get("event", {}).get("code") == "stream_interrupted")
            second.until(lambda told: told.get("error") == "stream_interrupted")
            for script in (first, second):
                script.until(hears("Hello, "))
            let_go()
            last = [script.finish() for script in (first, second)]

    assert [texts(told) for told in last] == [["Hello, Anna 😀"]] * 2
    assert last[1]["status"] == "ready"
