"""The admin: everything can be seen, nothing edited, and each action asks for its own permission."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from django_ais import jobs
from django_ais.models import AgentEvent, JobPacket, Workflow
from django_ais.testing import drain, run_job

pytestmark = pytest.mark.django_db

JOBS = reverse("admin:django_ais_jobpacket_changelist") if admin.site.is_registered(JobPacket) else ""
ACTIONS = {"cancel_jobs": "cancel_jobpacket", "retry_jobs": "retry_jobpacket", "resume_jobs": "resume_jobpacket"}


@pytest.fixture
def staff(client: Client) -> Any:
    """A signed-in person who may look and do nothing else."""
    user = get_user_model().objects.create_user(username="staff", password="x")
    user.is_staff = True
    user.save()
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_ais", codename__startswith="view")
    )
    client.force_login(user)
    return user


def allow(user: Any, codename: str) -> None:
    user.user_permissions.add(Permission.objects.get(content_type__app_label="django_ais", codename=codename))


def act(client: Client, action: str, job: JobPacket) -> Any:
    return client.post(JOBS, {"action": action, "_selected_action": [str(job.pk)]}, follow=True)


@pytest.mark.parametrize("model", [JobPacket, AgentEvent, Workflow])
def test_nothing_can_be_added_changed_or_deleted(model: type, admin_client: Client) -> None:
    """Given a superuser, the pages show rows and offer no form."""
    name = model._meta.model_name  # type: ignore[attr-defined]
    assert admin_client.get(reverse(f"admin:django_ais_{name}_changelist")).status_code == 200
    assert admin_client.get(reverse(f"admin:django_ais_{name}_add")).status_code == 403


def test_a_job_page_shows_its_run(client: Client, staff: Any) -> None:
    """Given a finished job, its page shows values, tree and events, escaped."""
    job = run_job("echo", {"text": "<script>alert(1)</script>"})
    page = client.get(reverse("admin:django_ais_jobpacket_change", args=[job.pk])).content.decode()
    assert "job.succeeded" in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_events_can_be_looked_at(client: Client, staff: Any) -> None:
    """Given an event, its page shows what it says."""
    job = run_job("echo", 1)
    event = AgentEvent.objects.filter(root=job.pk).latest("seq")
    assert b"job.succeeded" in client.get(reverse("admin:django_ais_agentevent_change", args=[event.pk])).content


@pytest.mark.parametrize(("action", "permission"), ACTIONS.items())
def test_every_action_asks_for_its_permission(action: str, permission: str, client: Client, staff: Any) -> None:
    """Given a person who may only look, an action is not offered and does nothing when asked for all the same."""
    job = jobs.dispatch("echo", 1)
    assert action not in client.get(JOBS).content.decode()
    act(client, action, job)
    assert jobs.get(job).status == "queued"
    allow(staff, permission)
    assert action in client.get(JOBS).content.decode()


def test_every_registered_action_is_gated() -> None:
    """Given all actions of our admin classes, each names a permission."""
    for model in (JobPacket, AgentEvent, Workflow):
        for action in admin.site._registry[model].actions or ():
            assert getattr(type(admin.site._registry[model]), str(action)).allowed_permissions


def test_cancel_cancels(client: Client, staff: Any, django_capture_on_commit_callbacks: Any) -> None:
    """Given the permission, a queued job is cancelled and the act is logged."""
    allow(staff, "cancel_jobpacket")
    job = jobs.dispatch("echo", 1)
    with django_capture_on_commit_callbacks(execute=True):
        page = act(client, "cancel_jobs", job)
    assert jobs.get(job).status == "cancelled"
    assert "1 job cancelled." in page.content.decode()


def test_retry_makes_a_new_run(client: Client, staff: Any) -> None:
    """Given a finished run, a new one is linked to it; an open one is refused with a sentence."""
    allow(staff, "retry_jobpacket")
    job = run_job("echo", 1)
    act(client, "retry_jobs", job)
    again = JobPacket.objects.get(retry_of=job)
    assert "is queued; jobs.retry is for finished runs" in act(client, "retry_jobs", again).content.decode()
    drain()
    assert jobs.get(again).status == "succeeded"
