"""Jobs, events and workflows in the admin: read-only, with a run's tree and events, and three gated actions.

Cancel, retry and resume are the public verbs, each behind a permission of its own; what they do is logged as any change
is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_ais import jobs
from django_ais.exceptions import AisError
from django_ais.models import AgentEvent, JobPacket, JobStep, Workflow

EM_SPACE = "\u2003"
MOST_TREE_ROWS = 200
MOST_EVENTS = 100


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows and changes none: they are written by the runtime alone."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows come from the runtime."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are changed by the runtime."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Old rows are pruned by a command."""
        return False


def pretty(value: Any) -> SafeString:
    """JSON as people read it."""
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False, default=str))


def job_link(job: JobPacket) -> SafeString:
    """A link to a job's page."""
    label = job.workflow_job or job.type
    if job.item is not None:
        label = f"{label}/{job.item}"
    url = reverse("admin:django_ais_jobpacket_change", args=[job.pk])
    return format_html('<a href="{}">{}</a>', url, label)


class IsRootFilter(admin.SimpleListFilter):
    """Runs alone, or every job."""

    title = _("shown")
    parameter_name = "shown"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The choices."""
        return [("jobs", gettext("every job"))]

    def choices(self, changelist: Any) -> Any:
        """Name what is shown without a choice."""
        first, *rest = super().choices(changelist)
        yield {**first, "display": gettext("runs")}
        yield from rest

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Roots alone, unless asked for more."""
        return queryset if self.value() == "jobs" else queryset.filter(parent=None)


@admin.register(JobPacket)
class JobPacketAdmin(ReadOnlyAdmin):
    """Runs and jobs."""

    list_display = ("id", "type", "status", "tenant", "workflow", "attempt", "created_at", "finished_at")
    list_filter = (IsRootFilter, "status", "type", "queue")
    list_select_related = ("workflow",)
    search_fields = ("=id", "=tenant", "=idempotency_key")
    ordering = ("-created_at",)
    actions = ("cancel_jobs", "retry_jobs", "resume_jobs")
    fieldsets = (
        (None, {"fields": ("type", "status", "why", "tenant", "user", "workflow", "run")}),
        (_("Values"), {"fields": ("payload_json", "result_json", "error_json")}),
        (_("Run"), {"fields": ("tree", "steps_taken", "newest_events")}),
        (
            _("Times and counts"),
            {
                "classes": ("collapse",),
                "fields": (
                    "created_at", "started_at", "finished_at", "run_after", "expires_at", "queue", "priority",
                    "attempt", "retries", "deliveries", "input_tokens", "output_tokens", "cost", "config_json",
                ),
            },
        ),
    )  # fmt: skip

    @admin.display(description=_("waiting for"))
    def why(self, job: JobPacket) -> str:
        """Why the job is not running, in words."""
        return str((job.waiting_on or {}).get("reason", "")) or "-"

    @admin.display(description=_("run"))
    def run(self, job: JobPacket) -> SafeString:
        """The root of the job's run."""
        return job_link(job.root)

    @admin.display(description=_("payload"))
    def payload_json(self, job: JobPacket) -> SafeString:
        """What the job was given."""
        return pretty(job.payload)

    @admin.display(description=_("result"))
    def result_json(self, job: JobPacket) -> SafeString:
        """What it came to."""
        return pretty(job.result)

    @admin.display(description=_("error"))
    def error_json(self, job: JobPacket) -> SafeString:
        """What went wrong."""
        return pretty(job.error)

    @admin.display(description=_("config"))
    def config_json(self, job: JobPacket) -> SafeString:
        """Its limits and options."""
        return pretty(job.config)

    @admin.display(description=_("jobs of the run"))
    def tree(self, job: JobPacket) -> SafeString:
        """The run's jobs, deeper ones further in."""
        rows = JobPacket.objects.filter(root=job.root_id).order_by("depth", "created_at", "item")[:MOST_TREE_ROWS]
        lines = ((EM_SPACE * row.depth, job_link(row), row.status, row.attempt) for row in rows)
        return format_html_join("", "<div>{}{} <b>{}</b>, attempt {}</div>", lines)

    @admin.display(description=_("steps"))
    def steps_taken(self, job: JobPacket) -> SafeString:
        """The job's recorded steps."""
        rows = JobStep.objects.filter(job=job).order_by("id")[:MOST_EVENTS]
        return format_html_join("", "<div>{} ({}): {}</div>", ((row.key, row.kind, row.status) for row in rows))

    @admin.display(description=_("newest events"))
    def newest_events(self, job: JobPacket) -> SafeString:
        """The end of the run's event log."""
        rows = AgentEvent.objects.filter(root=job.root_id).order_by("-seq")[:MOST_EVENTS]
        lines = ((row.seq, row.type, json.dumps(row.data, ensure_ascii=False)[:200]) for row in rows)
        return format_html_join("", "<div>{} <b>{}</b> {}</div>", lines)

    @admin.action(description=_("Cancel, with everything below"), permissions=["cancel"])
    def cancel_jobs(self, request: HttpRequest, queryset: QuerySet[JobPacket]) -> None:
        """Cancel the chosen jobs."""
        self._act(request, queryset, lambda job: jobs.cancel(job, reason=f"cancelled by {request.user}"), "cancelled")

    @admin.action(description=_("Run again, as a new run"), permissions=["retry"])
    def retry_jobs(self, request: HttpRequest, queryset: QuerySet[JobPacket]) -> None:
        """Retry the chosen runs."""
        self._act(request, queryset, jobs.retry, "run again")

    @admin.action(description=_("Resume"), permissions=["resume"])
    def resume_jobs(self, request: HttpRequest, queryset: QuerySet[JobPacket]) -> None:
        """Let the chosen jobs go on."""
        self._act(request, queryset, jobs.resume, "resumed")

    def _act(
        self, request: HttpRequest, chosen: QuerySet[JobPacket], verb: Callable[[JobPacket], Any], done: str
    ) -> None:
        count = 0
        for job in chosen:
            try:
                verb(job)
            except AisError as error:
                self.message_user(request, str(error), messages.WARNING)
            else:
                count += 1
                self._log(request, job, done)
        self.message_user(request, ngettext("%d job %s.", "%d jobs %s.", count) % (count, done))

    def _log(self, request: HttpRequest, job: Model, done: str) -> None:
        LogEntry.objects.create(
            user_id=request.user.pk,  # type: ignore[misc]  # a custom user's key may be anything
            content_type=ContentType.objects.get_for_model(JobPacket),
            object_id=str(job.pk),
            object_repr=str(job)[:200],
            action_flag=CHANGE,
            change_message=done,
        )

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Who may cancel."""
        return request.user.has_perm("django_ais.cancel_jobpacket")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Who may run again."""
        return request.user.has_perm("django_ais.retry_jobpacket")

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """Who may resume."""
        return request.user.has_perm("django_ais.resume_jobpacket")


@admin.register(AgentEvent)
class AgentEventAdmin(ReadOnlyAdmin):
    """The event log."""

    list_display = ("root_id", "seq", "type", "job_id", "created_at")
    list_filter = ("type",)
    search_fields = ("=root__id", "=job__id")
    ordering = ("-id",)
    fields = ("root_id", "seq", "type", "job_id", "created_at", "data_json")

    @admin.display(description=_("data"))
    def data_json(self, event: AgentEvent) -> SafeString:
        """What the event says."""
        return pretty(event.data)


@admin.register(Workflow)
class WorkflowAdmin(ReadOnlyAdmin):
    """Imported workflow versions."""

    list_display = ("name", "version", "tenant", "created_at")
    search_fields = ("name",)
    ordering = ("name", "-id")
    fields = ("name", "version", "tenant", "digest", "created_at", "source_text")

    @admin.display(description=_("source"))
    def source_text(self, workflow: Workflow) -> SafeString:
        """The file as it was imported."""
        return format_html("<pre>{}</pre>", workflow.source)
