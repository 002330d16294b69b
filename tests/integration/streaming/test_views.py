"""Jobs and events through Django's own client: the WSGI answer, paging, tickets, verbs, and who may."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connections
from django.test import Client
from django.utils import timezone

from django_ais import access, answers, jobs, views
from django_ais.frontends import views as frontends
from django_ais.models import JobPacket
from tests.app.behaviour_workers import settings_of, worker_of
from tests.integration.streaming.conftest import person

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.usefixtures("project")]

JSON: Any = {"HTTP_ACCEPT": "application/json"}


def client_of(user: Any = None, **kwargs: Any) -> Client:
    client = Client(**kwargs)
    if user is not None:
        client.force_login(user)
    return client


def body_of(response: Any) -> str:
    return b"".join(response.streaming_content).decode()


def frames_in(text: str) -> list[dict[str, Any]]:
    return [json.loads(block.partition("data: ")[2]) for block in text.split("\n\n") if "\ndata: " in block]


@pytest.fixture
def run(anna: Any) -> JobPacket:
    """A finished run of Anna's."""
    return jobs.dispatch("echo", {"text": "hello"}, user=anna)


def test_a_finished_run_is_replayed_and_the_answer_ends(anna, run):
    """Given a finished run, when its owner asks under WSGI, then all events come as server-sent events, LF only, with
    the headers that keep proxies from holding or keeping them.
    """
    response = client_of(anna).get(f"/ais/runs/{run.id}/events")
    text = body_of(response)

    assert [event["type"] for event in frames_in(text)] == ["job.queued", "job.started", "job.succeeded"]
    assert "\r" not in text
    assert "retry: " in text
    assert {name: response[name] for name in ("Content-Type", "Cache-Control", "X-Accel-Buffering")} == {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store, no-transform",
        "X-Accel-Buffering": "no",
    }
    assert {"Cookie", "Authorization"} <= {name.strip() for name in response["Vary"].split(",")}


def test_a_page_of_json_holds_what_the_stream_holds(anna, run):
    """Given a run, when it is read as a stream and as pages of two, then the events are the same."""
    client = client_of(anna)
    streamed = frames_in(body_of(client.get(f"/ais/runs/{run.id}/events")))

    first = client.get(f"/ais/runs/{run.id}/events?limit=2", **JSON).json()
    second = client.get(f"/ais/runs/{run.id}/events?limit=2&after={first['next']}", **JSON).json()

    assert first["events"] + second["events"] == streamed
    assert (first["is_over"], second["is_over"], second["next"]) == (False, True, 3)


def test_the_header_of_a_browser_that_comes_back_wins_over_the_address(anna, run):
    """Given an address with ``after=0``, when a browser comes back with ``Last-Event-ID``, then that counts."""
    response = client_of(anna).get(f"/ais/runs/{run.id}/events?after=0", HTTP_LAST_EVENT_ID="2")

    assert [event["seq"] for event in frames_in(body_of(response))] == [3]


def test_a_header_that_is_no_number_means_nothing_was_seen(anna, run):
    """Given a ``Last-Event-ID`` of somebody else's making, when a stream is asked for, then it starts at the start."""
    for garbage in ("x", "-1", "1e3", "٣", "9" * 40):
        response = client_of(anna).get(f"/ais/runs/{run.id}/events", HTTP_LAST_EVENT_ID=garbage)
        assert [event["seq"] for event in frames_in(body_of(response))] == [1, 2, 3]


def test_a_run_with_nothing_left_answers_204(anna, run):
    """Given a finished run, when a browser that has seen all of it comes back, then 204 ends it for good."""
    assert client_of(anna).get(f"/ais/runs/{run.id}/events", HTTP_LAST_EVENT_ID="3").status_code == 204


def test_head_answers_and_ends(anna, run):
    """Given a run, when HEAD is asked, then the headers of a stream come and no body."""
    response = client_of(anna).head(f"/ais/runs/{run.id}/events")

    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert response.content == b""


@pytest.mark.parametrize("query", ["after=x", "after=-1", "limit=many", "after=" + "9" * 25])
def test_an_address_that_makes_no_sense_is_refused(anna, run, query):
    """Given a query that is no number, when events are asked for, then 400 names the parameter."""
    response = client_of(anna).get(f"/ais/runs/{run.id}/events?{query}")

    assert response.status_code == 400
    assert query.partition("=")[0] in response.json()["error"]["message"]


def test_a_stream_under_wsgi_ends_after_a_while_and_says_when_to_come_back(anna, monkeypatch):
    """Given a run that waits, when it is followed under WSGI, then the answer ends by itself, with ``retry:``."""
    monkeypatch.setattr(answers, "WSGI_SECONDS", 0.1)
    waiting = jobs.dispatch("echo", {}, user=anna, run_after=timezone.now() + timedelta(days=1))

    text = body_of(client_of(anna).get(f"/ais/runs/{waiting.id}/events"))

    assert [event["type"] for event in frames_in(text)] == ["job.queued"]
    assert text.rstrip("\n").rpartition("\n")[2].startswith("retry: ")


def test_a_long_poll_answers_when_something_comes(anna, settings):
    """Given a run that waits for its cancellation, when a client polls with ``wait``, then it is answered by that, and
    without any news after the time it gave.
    """
    waiting = jobs.dispatch("echo", {}, user=anna, run_after=timezone.now() + timedelta(days=1))
    client = client_of(anna)
    address = f"/ais/runs/{waiting.id}/events?after=1&wait="

    assert client.get(address + "0", **JSON).json()["events"] == []
    timer = threading.Timer(0.3, _in_a_thread, [jobs.cancel, waiting.id])
    timer.start()
    news = client.get(address + "20", **JSON).json()
    timer.join()

    assert [event["type"] for event in news["events"]] == ["job.cancelled"]
    assert (news["next"], news["is_over"]) == (2, True)


def _in_a_thread(verb: Any, *args: Any) -> None:
    verb(*args)
    connections.close_all()


def test_a_ticket_opens_its_run_without_a_session(anna, run):
    """Given a ticket that the owner asked for, when a client without a session shows it, then the run is streamed."""
    ticket = client_of(anna).post(f"/ais/runs/{run.id}/ticket").json()["ticket"]

    response = client_of().get(f"/ais/runs/{run.id}/events?ticket={ticket}")

    assert len(frames_in(body_of(response))) == 3


def test_a_ticket_opens_nothing_else(anna, run, monkeypatch):
    """Given a ticket, when it is old, of another run, or its user was switched off, then it opens nothing, also for
    somebody who is logged in.
    """
    other = jobs.dispatch("echo", {}, user=anna)
    client = client_of(anna)
    ticket = client.post(f"/ais/runs/{run.id}/ticket").json()["ticket"]
    address = f"/ais/runs/{run.id}/events?ticket={ticket}"

    assert client.get(f"/ais/runs/{other.id}/events?ticket={ticket}").status_code == 404
    monkeypatch.setattr(access, "TICKET_SECONDS", -1)
    assert client.get(address).status_code == 404
    monkeypatch.undo()
    anna.is_active = False
    anna.save()
    assert client_of().get(address).status_code == 404


def test_a_job_is_told_without_its_payload_and_without_what_its_error_quotes(anna):
    """Given a failed job, when its owner asks, then payload, error class and error text are withheld; staff with the
    permission sees them.
    """
    failed = jobs.dispatch(worker_of(_crash_with_secret), {"token": "s3cret"}, user=anna, config={"max_retries": 0})
    staff = person("staff")
    staff.user_permissions.set(Permission.objects.filter(codename__in=["view_jobpacket", "inspect_jobpacket"]))

    shown = client_of(anna).get(f"/ais/jobs/{failed.id}")
    events = client_of(anna).get(f"/ais/runs/{failed.id}/events", **JSON)
    inspected = client_of(staff).get(f"/ais/jobs/{failed.id}")

    assert shown.json()["error"]["code"] == "RuntimeError"
    assert "s3cret" not in shown.content.decode() + events.content.decode()
    assert inspected.json()["payload"] == {"token": "s3cret"}
    assert "s3cret in the text" in inspected.json()["error"]["message"]


def _crash_with_secret(job: Any) -> None:
    raise RuntimeError("s3cret in the text")


def test_the_arguments_of_tools_are_for_staff(anna):
    """Given a run that called a tool, when its owner follows it, then the call is told and its arguments are not."""

    def run(job: Any) -> None:
        job.emit("tool.called", call="1", name="lookup", arguments={"number": "A-17"})
        job.emit("tool.returned", call="1", name="lookup", content={"total": 12})

    called = jobs.dispatch(worker_of(run), user=anna)

    text = body_of(client_of(anna).get(f"/ais/runs/{called.id}/events"))

    tools = [event["data"] for event in frames_in(text) if event["type"].startswith("tool.")]
    assert tools == [{"call": "1", "name": "lookup"}, {"call": "1", "name": "lookup"}]


def test_cancel_retry_and_resume_are_posts_with_their_own_permissions(anna, run, settings):
    """Given a job, when somebody who may only look asks for more, then 404; its owner may do all of it, and what the
    status does not allow is 409.
    """
    settings.DJANGO_AIS = settings_of("memory")
    looker = person("looker")
    looker.user_permissions.set(Permission.objects.filter(codename="view_jobpacket"))
    assert client_of(looker).get(f"/ais/jobs/{run.id}").status_code == 200
    for verb in ("cancel", "retry", "resume"):
        assert client_of(looker).post(f"/ais/jobs/{run.id}/{verb}").status_code == 404
        assert client_of(anna).get(f"/ais/jobs/{run.id}/{verb}").status_code == 405

    client = client_of(anna)
    again = client.post(f"/ais/jobs/{run.id}/retry")
    assert (again.status_code, again.json()["retry_of"]) == (201, str(run.id))
    assert client.post(f"/ais/jobs/{run.id}/resume").status_code == 409
    assert client.post(f"/ais/jobs/{run.id}/cancel").json()["status"] == "succeeded"


def test_the_projects_csrf_middleware_guards_the_verbs(anna, run):
    """Given a browser that sends no CSRF token, when it posts, then the project's middleware refuses."""
    client = client_of(anna, enforce_csrf_checks=True)

    assert client.post(f"/ais/jobs/{run.id}/cancel").status_code == 403
    assert client.post(f"/ais/runs/{run.id}/ticket").status_code == 403


def test_a_child_is_its_run_owners_and_no_run_itself(anna):
    """Given a job that dispatched a child, when the run's owner asks, then the child is shown as a job, and as a run
    there is none of that id.
    """
    parent = jobs.dispatch(worker_of(lambda job: job.dispatch("echo", {}) and None), user=anna)
    child = JobPacket.objects.get(parent=parent)

    assert client_of(anna).get(f"/ais/jobs/{child.id}").json()["run"] == str(parent.id)
    assert client_of(anna).get(f"/ais/runs/{child.id}/events").status_code == 404


def test_requests_do_not_hold_a_transaction():
    """Given a project with ``ATOMIC_REQUESTS``, when a view of ours runs, then no transaction is around it."""
    ours = [views.events, views.ticket, views.job, views.cancel, views.retry, views.resume]
    ours += [frontends.agui, frontends.agui_connect, frontends.ai_sdk, frontends.ai_sdk_stream]
    for view in ours:
        assert set(connections) <= vars(view)["_non_atomic_requests"]
