"""The rows: jobs, their events and steps, and imported workflows.

The runtime writes most columns by itself (`runtime/sql.py`); ``save()`` and ``update()`` refuse those and name the verb
to use instead, so that a stale instance can never undo what a worker process has recorded.
"""

from __future__ import annotations

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_ais.exceptions import MachineOwnedFieldError
from django_ais.states import OPEN, JobStatus

USER_OWNED = frozenset({"user", "user_id"})
VERBS = {
    "status": "jobs.cancel, jobs.retry or jobs.resume",
    "payload": "jobs.dispatch of a new job",
    "priority": "jobs.dispatch(priority=...)",
    "run_after": "jobs.dispatch(run_after=...) or jobs.resume",
    "result": "the worker's run()",
    "error": "the worker's run()",
}


def refuse_machine_owned(fields: Any) -> None:
    """Raise `MachineOwnedFieldError` if one of the fields belongs to the runtime."""
    for field in sorted(set(fields) - USER_OWNED):
        verb = VERBS.get(field, "the verbs of django_ais.jobs")
        raise MachineOwnedFieldError(f"JobPacket.{field} is written by the runtime alone; use {verb}.")


class JobPacketQuerySet(models.QuerySet["JobPacket"]):
    """Questions people ask of jobs."""

    def for_tenant(self, tenant: str) -> Self:
        """Jobs of one tenant; start every query of a request with it."""
        return self.filter(tenant=tenant)

    def roots(self) -> Self:
        """Jobs that nobody else created: one for each run."""
        return self.filter(parent=None)

    def open(self) -> Self:
        """Jobs that are not finished."""
        return self.filter(status__in=OPEN)

    def terminal(self) -> Self:
        """Jobs that are finished, well or not."""
        return self.exclude(status__in=OPEN)

    def with_status(self, *statuses: JobStatus | str) -> Self:
        """Jobs in one of these statuses."""
        return self.filter(status__in=statuses)

    def of_type(self, type: str) -> Self:
        """Jobs of one type."""
        return self.filter(type=type)

    def in_run(self, root: Any) -> Self:
        """All jobs of a run, given its root or the root's id."""
        return self.filter(root=root)

    def update(self, **values: Any) -> int:
        """As Django's, for columns that are not the runtime's; else `MachineOwnedFieldError`."""
        refuse_machine_owned(values)
        return super().update(**values)

    def bulk_update(self, objs: Any, fields: Any, batch_size: int | None = None) -> int:
        """As Django's, for columns that are not the runtime's; else `MachineOwnedFieldError`."""
        fields = list(fields)
        refuse_machine_owned(fields)
        return super().bulk_update(objs, fields, batch_size=batch_size)

    def _machine_update(self, **values: Any) -> int:
        """`update` for the runtime."""
        return super().update(**values)

    def bulk_create(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: a job is more than its row."""
        raise MachineOwnedFieldError(
            "A JobPacket is created by jobs.dispatch or jobs.dispatch_many, which announce it."
        )


class JobPacket(models.Model):
    """A job: one unit of work that one worker process at a time may claim.

    Its fence is the pair (``lease_epoch``, ``lease_owner``): every write of an attempt is a condition on both.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    type = models.CharField(max_length=100)
    worker = models.CharField(max_length=200)
    status = models.CharField(max_length=12, choices=[(status.value, status.value) for status in JobStatus])
    phase = models.CharField(max_length=8, default="run")  # run, or finish: all children are done, on_done is next
    waiting_on = models.JSONField(null=True)

    payload = models.JSONField(null=True)
    result = models.JSONField(null=True)
    error = models.JSONField(null=True)
    config = models.JSONField(default=dict)

    parent = models.ForeignKey(
        "self", models.CASCADE, null=True, related_name="children", db_constraint=False, db_index=False
    )
    root = models.ForeignKey("self", models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    depth = models.PositiveSmallIntegerField(default=0)
    retry_of = models.ForeignKey(
        "self", models.SET_NULL, null=True, related_name="retries_of", db_constraint=False, db_index=False
    )
    workflow = models.ForeignKey("Workflow", models.PROTECT, null=True, related_name="runs", db_index=False)
    workflow_job = models.CharField(max_length=100, null=True)  # noqa: DJ001 (null: not of a workflow)
    item = models.PositiveIntegerField(null=True)

    tenant = models.CharField(max_length=100, default="", blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    idempotency_key = models.CharField(max_length=200, null=True)  # noqa: DJ001 (null: never equal to another)

    queue = models.CharField(max_length=100, default="default")
    priority = models.SmallIntegerField(default=0)
    run_after = models.DateTimeField()
    announce_at = models.DateTimeField(null=True)  # when the sweep rings (again) for a queued job
    announcements = models.PositiveSmallIntegerField(default=0)

    attempt = models.PositiveIntegerField(default=0)
    retries = models.PositiveIntegerField(default=0)  # attempts that ended in an error and were tried again
    deliveries = models.PositiveIntegerField(default=0)  # claims in a row that never settled
    lease_owner = models.CharField(max_length=32, default="", blank=True)
    lease_epoch = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)

    traceparent = models.CharField(max_length=55, default="", blank=True)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0)  # micro-units

    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    start_by_at = models.DateTimeField(null=True)  # limit of waiting in the queue
    expires_at = models.DateTimeField(null=True)  # limit of the whole job
    cancel_children_at = models.DateTimeField(null=True)  # a cascade that is recorded and not yet done

    objects = models.Manager.from_queryset(JobPacketQuerySet)()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        permissions = [
            ("inspect_jobpacket", _("Can see payloads, tool arguments and error texts of jobs")),
            ("cancel_jobpacket", _("Can cancel jobs")),
            ("retry_jobpacket", _("Can retry jobs")),
            ("resume_jobpacket", _("Can resume jobs")),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "type", "idempotency_key"],
                name="ais_job_idempotency",
                condition=Q(idempotency_key__isnull=False),
            ),
        ]
        indexes = [
            # Every change of status writes an entry into each index that has the row: few, and partial where they can.
            models.Index(fields=["root", "depth"], name="ais_job_root"),
            models.Index(fields=["retry_of"], name="ais_job_retry_of", condition=Q(retry_of__isnull=False)),
            models.Index(fields=["workflow"], name="ais_job_workflow", condition=Q(workflow__isnull=False)),
            models.Index(fields=["user"], name="ais_job_user", condition=Q(user__isnull=False)),
            models.Index(fields=["parent", "status", "item"], name="ais_job_parent", condition=Q(parent__isnull=False)),
            models.Index(fields=["tenant", "-created_at"], name="ais_job_tenant"),
            models.Index(
                fields=["queue", "-priority", "run_after", "id"], name="ais_job_due", condition=Q(status="queued")
            ),
            models.Index(fields=["announce_at"], name="ais_job_announce", condition=Q(status="queued")),
            # Not on lease_expires_at: a heartbeat must change no indexed column (PostgreSQL's HOT updates).
            models.Index(fields=["id"], name="ais_job_running", condition=Q(status="running")),
            models.Index(
                fields=["expires_at"],
                name="ais_job_expires",
                condition=Q(expires_at__isnull=False, status__in=sorted(status.value for status in OPEN)),
            ),
            models.Index(
                fields=["start_by_at"], name="ais_job_start_by", condition=Q(start_by_at__isnull=False, status="queued")
            ),
            models.Index(
                fields=["cancel_children_at"], name="ais_job_cascade", condition=Q(cancel_children_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id} ({self.status})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save columns of the application (``update_fields``); else `MachineOwnedFieldError`."""
        if self._state.adding:
            raise MachineOwnedFieldError("A JobPacket is created by jobs.dispatch, which also announces it.")
        fields = kwargs.get("update_fields")
        if fields is None:
            raise MachineOwnedFieldError(
                "JobPacket.save() would overwrite what the runtime has recorded since this instance was read; use "
                "jobs.cancel, jobs.retry or jobs.resume, or save(update_fields=['user'])."
            )
        refuse_machine_owned(fields)
        super().save(*args, **kwargs)

    @property
    def is_terminal(self) -> bool:
        """Whether the job is finished, well or not."""
        return JobStatus(self.status).is_terminal


class JobCounters(models.Model):
    """The numbers of a root or parent, in a narrow row so that counting never rewrites a wide one."""

    job = models.OneToOneField(
        JobPacket, models.CASCADE, primary_key=True, related_name="counters", db_constraint=False
    )
    open_children = models.IntegerField(default=0)
    last_seq = models.BigIntegerField(default=0)
    pruned_through = models.BigIntegerField(default=0)  # events up to here may have been forgotten

    class Meta:
        verbose_name = _("job counters")
        verbose_name_plural = _("job counters")

    def __str__(self) -> str:
        return f"{self.job_id}: {self.open_children} open, last event {self.last_seq}"


class AgentEvent(models.Model):
    """One event of a run. ``seq`` counts 1, 2, 3, ... within the root, in commit order, without a hole."""

    root = models.ForeignKey(JobPacket, models.CASCADE, related_name="run_events", db_constraint=False, db_index=False)
    # A job goes with its run, and its events with their root: no index of their own. Ask by root and job.
    job = models.ForeignKey(JobPacket, models.DO_NOTHING, related_name="events", db_constraint=False, db_index=False)
    seq = models.BigIntegerField()
    type = models.CharField(max_length=100)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        constraints = [models.UniqueConstraint(fields=["root", "seq"], name="ais_event_seq")]

    def __str__(self) -> str:
        return f"{self.root_id} {self.seq} {self.type}"


class JobStep(models.Model):
    """A recorded piece of a job. One that is ``done`` is never executed again."""

    job = models.ForeignKey(JobPacket, models.CASCADE, related_name="steps", db_constraint=False, db_index=False)
    key = models.CharField(max_length=200)
    kind = models.CharField(max_length=20)
    status = models.CharField(max_length=10)  # intended, done, failed, unknown
    fingerprint = models.CharField(max_length=64)
    output = models.JSONField(null=True)
    error = models.JSONField(null=True)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0)  # micro-units
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        constraints = [models.UniqueConstraint(fields=["job", "key"], name="ais_step_key")]

    def __str__(self) -> str:
        return f"{self.job_id} {self.key} ({self.status})"


class Workflow(models.Model):
    """One version of an imported workflow file; never changed, so that a run can pin it."""

    tenant = models.CharField(max_length=100, default="", blank=True)
    name = models.CharField(max_length=200)
    version = models.CharField(max_length=50)
    digest = models.CharField(max_length=64)
    spec = models.JSONField()
    source = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("workflow")
        verbose_name_plural = _("workflows")
        constraints = [models.UniqueConstraint(fields=["tenant", "name", "version"], name="ais_workflow_version")]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Election(models.Model):
    """Which worker process does a round of some duty (the sweep), and until when."""

    duty = models.CharField(max_length=50, primary_key=True)
    owner = models.CharField(max_length=32, default="", blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        verbose_name = _("election")
        verbose_name_plural = _("elections")

    def __str__(self) -> str:
        return f"{self.duty}: {self.owner} until {self.expires_at}"
