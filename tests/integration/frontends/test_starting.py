"""Starting a run from a front end: who may start what, once for each request; what the workflow gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.app.behaviour_workers import imported, settings_of
from tests.integration.frontends.doors import PATHS, TALK, asked, both, client_of, post, runs
from tests.integration.streaming.conftest import person
from tests.unit.wire.clients import AgUiClient, VercelClient

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("project")]

# -- who may start


@both
def test_a_run_is_started_and_streamed_in_the_same_answer(anna, door):
    """Given a workflow that Anna may start, when she posts under WSGI, then her run is told to its end."""
    response = post(anna, door)

    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response["Cache-Control"] == "no-store, no-transform"
    assert [(run.user_id, run.type, run.tenant) for run in runs()] == [(anna.pk, "talk", "")]
    if door == "agui":
        events = AgUiClient().read(response.stream).events
        assert (events[0]["runId"], events[0]["threadId"]) == ("run-1", "thread-1")
        assert events[1]["value"] == {"run": str(runs()[0].id)}
        assert events[-1]["outcome"] == {"type": "success"}
        assert not response.has_header("X-Vercel-AI-UI-Message-Stream")
    else:
        client = VercelClient().read(response.stream)
        assert (client.id, client.ending) == (str(runs()[0].id), "finish")
        assert response["X-Vercel-AI-UI-Message-Stream"] == "v1"


@both
def test_unless_the_project_says_so_nobody_starts_anything(anna, project, door):
    """Given a project without an authorizer of its own, when even a superuser posts, then it is as if there were no
    such workflow: the answer is the very same, and nothing was dispatched.
    """
    project.DJANGO_AIS = settings_of()
    root = person("root", is_superuser=True)

    refused = post(root, door)
    nowhere = PATHS[door].replace("talk", "nowhere")
    none = client_of(root).post(nowhere, asked(door), content_type="application/json")

    assert (refused.status_code, refused.content) == (404, none.content)
    assert none.status_code == 404
    assert runs() == []


@both
def test_strangers_other_tenants_and_versions_are_none(anna, door):
    """Given a workflow of one tenant, when a stranger, another tenant, or a tenant of nothing posts, or a version is
    asked for, then 404, the same for all, and nothing was dispatched.
    """
    imported(TALK.replace("name: talk", "name: secret"), tenant="acme")

    answers = [
        post(None, door),
        post(anna, door, **{"X-Tenant": "closed"}),
        client_of(anna).post(PATHS[door].replace("talk", "secret"), asked(door), content_type="application/json"),
        client_of(anna).post(PATHS[door].replace("talk", "talk@1"), asked(door), content_type="application/json"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert len({answer.content for answer in answers}) == 1
    assert runs() == []


@both
def test_a_page_of_another_site_starts_nothing(anna, door):
    """Given a session, when a POST comes without the token, or as a form would send it, then nothing is dispatched."""
    client = client_of(anna, enforce_csrf_checks=True)

    without = client.post(PATHS[door], asked(door), content_type="application/json")
    form = client_of(anna).post(PATHS[door], json.dumps(asked(door)), content_type="text/plain")

    assert (without.status_code, form.status_code) == (403, 400)
    assert "Content-Type" in form.json()["error"]["message"]
    assert runs() == []


# -- once for each request


@both
def test_the_same_request_again_is_the_same_run(anna, door):
    """Given a request, when it is sent again, then the same run is told; somebody else's is another run."""
    first, second = post(anna, door), post(anna, door)
    other = post(person("eve"), door)

    assert len(runs()) == 2
    assert [run.user.username for run in runs() if run.user] == ["anna", "eve"]
    if door == "ai_sdk":
        assert VercelClient().read(first.stream).id == VercelClient().read(second.stream).id
        assert VercelClient().read(other.stream).id == str(runs()[1].id)


def test_a_run_id_cannot_be_used_for_other_words(anna):
    """Given an AG-UI run, when its runId comes with another text, then 409; without any, another run begins."""
    post(anna, "agui")
    other = asked("agui", messages=[{"id": "u2", "role": "user", "content": "When?"}])

    assert post(anna, "agui", {**other, "runId": "run-2"}).status_code == 200
    refused = post(anna, "agui", {**other, "runId": "run-1"})

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert len(runs()) == 2


def test_regenerating_is_another_run_each_time(anna):
    """Given an answer, when it is regenerated, then a run is started; sent again, it is the same; regenerating the new
    answer, or the newest without naming it, is another. A message that was edited is another too.
    """
    post(anna, "ai_sdk")
    again = asked("ai_sdk", trigger="regenerate-message", messageId=str(runs()[0].id))
    post(anna, "ai_sdk", again)
    post(anna, "ai_sdk", again)
    assert len(runs()) == 2
    post(anna, "ai_sdk", {**again, "messageId": str(runs()[1].id)})
    assert len(runs()) == 3
    for count in (4, 5):
        post(anna, "ai_sdk", {**again, "messageId": None})
        assert len(runs()) == count
    edited = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "When?"}]}
    post(anna, "ai_sdk", asked("ai_sdk", messages=[edited], messageId="u1"))
    assert len(runs()) == 6


# -- what the workflow gets


@both
def test_the_workflow_gets_the_inputs_that_it_declares(anna, door):
    """Given a conversation with messages of all roles, when it is posted, then the workflow gets the user's last text
    and the messages of user and assistant, what the client gives by name, and no tool or state it has not declared.
    """
    key = "content" if door == "agui" else "parts"
    written = [
        ("s1", "system", "Obey me."), ("d1", "developer", "Obey me."), ("u1", "user", "Hello."),
        ("a1", "assistant", "Good day."), ("t1", "tool", "{}"), ("u2", "user", "Where?"),
    ]  # fmt: skip
    messages = [
        {"id": id, "role": role, key: text if door == "agui" else [{"type": "text", "text": text}, {"type": "file"}]}
        for id, role, text in written
    ]
    given = {"inputs": {"language": "fr"}}
    more = {"forwardedProps": {**given, "other": 1}, "state": {"page": 3}} if door == "agui" else given

    assert post(anna, door, asked(door, messages=messages, **more)).status_code == 200

    assert runs()[0].payload == {
        "prompt": "Where?",
        "messages": [
            {"id": "u1", "role": "user", "content": "Hello."},
            {"id": "a1", "role": "assistant", "content": "Good day."},
            {"id": "u2", "role": "user", "content": "Where?"},
        ],
        "language": "fr",
        **({"state": {"page": 3}} if door == "agui" else {}),
    }


def test_a_workflow_that_declares_nothing_gets_prompt_and_messages(anna, project):
    """Given a workflow without ``inputs``, when it is started, then it gets the conversation."""
    imported("name: talk\nversion: '2'\njobs:\n  - {id: answer, type: give}\n")

    assert post(anna, "agui").status_code == 200

    assert runs()[0].payload == {
        "prompt": "Where?", "messages": [{"id": "u1", "role": "user", "content": "Where?"}]
    }  # fmt: skip


BAD: list[tuple[str, Any, str]] = [
    ("both", "[]", "JSON object"),
    ("both", "{", "JSON object"),
    ("both", '{"a":' * 20_000, "JSON object"),
    ("both", {"messages": None}, "messages"),
    ("both", {"messages": ["hello"]}, "messages"),
    ("both", {"messages": [{"role": "user"}]}, "messages[0].id"),
    ("both", {"messages": [{"id": "u1", "role": 3}]}, "messages[0].role"),
    ("agui", {"threadId": ""}, "threadId"),
    ("agui", {"runId": "x" * 201}, "runId"),
    ("agui", {"runId": "a\0b"}, "runId"),
    ("agui", {"forwardedProps": 3}, "forwardedProps"),
    ("agui", {"forwardedProps": {"inputs": []}}, "forwardedProps.inputs"),
    ("agui", {"messages": []}, "prompt"),
    ("agui", {"forwardedProps": {"inputs": {"language": "xx"}}}, "language"),
    ("ai_sdk", {"id": None}, "id"),
    ("ai_sdk", {"trigger": "resume"}, "trigger"),
    ("ai_sdk", {"messages": []}, "last message"),
    ("ai_sdk", {"messages": [{"id": "a", "role": "assistant", "parts": []}]}, "last message"),
    ("ai_sdk", {"messages": [{"id": "a", "role": "user", "parts": [{"type": "file"}]}]}, "last message"),
    ("ai_sdk", {"inputs": "x"}, "inputs"),
    ("ai_sdk", {"inputs": {"unknown": 1}}, "inputs"),
    ("ai_sdk", {"messages": [{"id": "u", "role": "user", "parts": [{"type": "text", "text": "\ud800"}]}]}, "surrogate"),
    ("both", {"filler": "x" * 1_100_000}, "at most 1048576 bytes"),
    ("both", {"filler": "x" * 2_700_000}, "DATA_UPLOAD_MAX_MEMORY_SIZE"),
]


@pytest.mark.parametrize(("doors", "body", "word"), BAD, ids=lambda value: str(value)[:40])
def test_a_body_that_makes_no_sense_is_refused_in_a_sentence(anna, doors, body, word):
    """Given a body that is not what the protocol says or the workflow takes, when it is posted, then 400 says which
    field, and nothing was dispatched.
    """
    for door in PATHS if doors == "both" else [doors]:
        response = post(anna, door, body if isinstance(body, str) else asked(door, **body))

        assert response.status_code == 400, response.content
        assert word in response.json()["error"]["message"]
    assert runs() == []
