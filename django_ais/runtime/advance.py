"""What comes next in a workflow: from the statuses of its jobs to new rows, or to the run's end. Writes nothing itself.

Called with the root's (or the foreach job's) row locked; the siblings are read in a new statement after that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from django_ais import conf, events
from django_ais.exceptions import AisError, ExpressionError, InvalidPayloadError, WorkflowError
from django_ais.models import JobPacket
from django_ais.retry import JobConfig
from django_ais.runtime import catalog, database, foreach, lifecycle
from django_ais.runtime.journal import Draft
from django_ais.runtime.lifecycle import Values
from django_ais.values import canonical, ensure_json
from django_ais.workflows import graph
from django_ais.workflows.expressions import parse
from django_ais.workflows.spec import ForeachSpec, JobSpec, WorkflowSpec
from django_ais.workflows.templates import render, template_references


@dataclass
class Turn:
    """One look at a run: rows to insert, events of those born terminal, items of foreach jobs, and the run's end."""

    rows: list[Values] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    items: list[tuple[JobPacket, foreach.Items]] = field(default_factory=list)
    copies: list[tuple[UUID, UUID]] = field(default_factory=list)  # jobs whose done steps others are to have
    ending: Values | None = None


def advance(root: JobPacket) -> Turn:
    """Plan until nothing new can start; a job born terminal (skipped, failed, reused, an empty list) may free
    others.
    """
    run = _Run(root, catalog.spec_of(catalog.pinned(root)))
    while True:
        plan = graph.plan(run.spec, run.statuses)
        if not plan.ready and not plan.skip:
            break
        for job, reason in plan.skip:
            run.skip(job, reason)
        for job in plan.ready:
            run.start(job)
    if plan.finished:
        run.turn.ending = run.end(plan)
    return run.turn


class _Run:
    """A run while it is being advanced: what its jobs have come to, and what is to be written."""

    def __init__(self, root: JobPacket, spec: WorkflowSpec) -> None:
        self.root = root
        self.spec = spec
        self.turn = Turn()
        siblings = JobPacket.objects.using(database.database()).filter(parent=root)
        self.ids: dict[str, UUID] = {}
        self.statuses: dict[str, str] = {}
        for name, job_id, status in siblings.values_list("workflow_job", "id", "status"):
            self.ids[str(name)] = job_id
            self.statuses[str(name)] = status
        self._results: dict[str, Any] = {}
        self._recorded: dict[str, JobPacket] | None = None

    def context(self, *templates: Any) -> dict[str, Any]:
        """What expressions in these templates may read; loads the results they name and no others."""
        names = {
            str(reference.path[1])
            for template in templates
            for reference in template_references(template)
            if len(reference.path) > 1 and reference.path[0] == "jobs"
        }
        self._load(names)
        jobs = {name: {"outputs": self._results.get(name), "status": self.statuses.get(name)} for name in names}
        return {"inputs": self.root.payload, "jobs": jobs, "run": {"id": str(self.root.id)}}

    def result(self, name: str) -> Any:
        """What a workflow job came to."""
        self._load({name})
        return self._results.get(name)

    def _load(self, names: Iterable[str]) -> None:
        wanted = {self.ids[name]: name for name in names if name in self.ids and name not in self._results}
        if wanted:
            rows = JobPacket.objects.using(database.database()).filter(id__in=wanted)
            self._results.update({wanted[job_id]: result for job_id, result in rows.values_list("id", "result")})

    def _payload(self, job: JobSpec, context: Mapping[str, Any]) -> Any:
        if job.with_ is not None:
            return render(job.with_, context)
        if not job.needs:
            return self.root.payload
        if len(job.needs) == 1:
            return self.result(job.needs[0])
        return {need: self.result(need) for need in job.needs}

    def start(self, job: JobSpec) -> None:
        """Create a workflow job, or record why it does not run."""
        try:
            condition = None if job.if_ is None else "${{" + job.if_ + "}}"
            source = None if job.foreach is None else job.foreach.in_
            context = self.context(condition, source, job.with_)
            if job.if_ is not None and not parse(job.if_).test(context):
                self.skip(job, "its condition is false")
            elif (recorded := self._reusable(job)) is not None:
                self._reuse(job, recorded)
            elif job.foreach is not None:
                self._start_each(job, job.foreach, context)
            else:
                self._add(job, self._begun(job, self._child(job, self._payload(job, context))))
        except AisError as error:
            self._fail(job, error)

    def skip(self, job: JobSpec, reason: str) -> None:
        """Record that a workflow job does not run, and why."""
        row = self._terminal(job, "skipped", {"waiting_on": {"reason": reason}})
        skipped = events.JobSkipped(job_type=job.type, workflow_job=job.id, reason=reason)
        self._add(job, row, Draft(row["id"], skipped))

    def _fail(self, job: JobSpec, error: AisError) -> None:
        document = lifecycle.error_document(error)
        row = self._terminal(job, "failed", {"error": document})
        failed = events.JobFailed(code=document["code"], message=document["message"])
        self._add(job, row, Draft(row["id"], failed))

    def _reuse(self, job: JobSpec, recorded: JobPacket) -> None:
        row = self._terminal(job, "succeeded", {"result": recorded.result, "retry_of_id": recorded.id})
        self._results[job.id] = recorded.result
        self._add(job, row, Draft(row["id"], events.JobSucceeded(reused=True)))

    def _terminal(self, job: JobSpec, status: str, values: Values) -> Values:
        return {**self._child(job, None), "status": status, "finished_at": database.now(), **values}

    def _add(self, job: JobSpec, row: Values, draft: Draft | None = None) -> None:
        self.turn.rows.append(row)
        self.ids[job.id] = row["id"]
        self.statuses[job.id] = row["status"]
        if draft is not None:
            if draft.type != "job.skipped":  # which says by itself what it is about
                self.turn.drafts.append(lifecycle.queued(row))
            self.turn.drafts.append(draft)

    def _child(self, job: JobSpec, payload: Any) -> Values:
        return _child_row(self.root, job, payload, workflow_job=job.id)

    def _begun(self, job: JobSpec, row: Values) -> Values:
        """The row; where the run that is retried began this job with the same payload, it goes on from its steps."""
        before = self._before(job)
        if before is None or canonical(before.payload) != canonical(row["payload"]):
            return row
        self.turn.copies.append((before.id, row["id"]))
        return {**row, "retry_of_id": before.id}

    def _reusable(self, job: JobSpec) -> JobPacket | None:
        before = self._before(job)
        return before if before is not None and before.status == "succeeded" else None

    def _before(self, job: JobSpec) -> JobPacket | None:
        """This job in the run that is retried."""
        if self.root.retry_of_id is None or self.root.config.get("fresh"):
            return None
        if self._recorded is None:
            rows = JobPacket.objects.using(database.database()).filter(parent=self.root.retry_of_id)
            self._recorded = {str(row.workflow_job): row for row in rows}
        return self._recorded.get(job.id)

    def _start_each(self, job: JobSpec, each: ForeachSpec, context: Mapping[str, Any]) -> None:
        values = render(each.in_, context)
        if not isinstance(values, list):
            raise WorkflowError(f"foreach of '{job.id}' needs a list and got {type(values).__name__}")
        if len(values) > each.max_items:
            raise WorkflowError(f"foreach of '{job.id}' got {len(values)} items; max_items is {each.max_items}")
        row = self._child(job, None)
        group = JobPacket(id=row["id"], root_id=self.root.id, depth=row["depth"], tenant=self.root.tenant)
        group.user_id, group.workflow_id = self.root.user_id, self.root.workflow_id
        group.queue, group.priority = self.root.queue, self.root.priority
        payloads = [self._item_payload(job, each, context, value, index) for index, value in enumerate(values)]
        items = foreach.Items(
            [_child_row(group, job, payload, workflow_job=job.id, item=index) for index, payload in enumerate(payloads)]
        )
        items.reuse(self._before(job))
        items.hold_back(each.limit)
        row = foreach.gathering(row, each, items)
        over = row["status"] == "succeeded"
        if over:
            self._results[job.id] = row["result"]
        suspended = events.JobSuspended(reason="children", children=len(values))
        self._add(job, row, Draft(row["id"], events.JobSucceeded() if over else suspended))
        self.turn.items.append((group, items))

    def _item_payload(self, job: JobSpec, each: ForeachSpec, context: Mapping[str, Any], value: Any, index: int) -> Any:
        if job.with_ is None:
            return value
        return render(job.with_, {**context, each.as_: value, "loop": {"index": index}})

    def end(self, plan: graph.Plan) -> Values:
        """How the run ends: its outputs, or what failed."""
        if plan.failed:
            return foreach.failed(self._why(plan.unhandled))
        try:
            if self.spec.outputs is not None:
                result = render(self.spec.outputs, self.context(self.spec.outputs))
                limit = conf.current().max_payload_bytes
                return {"status": "succeeded", "result": ensure_json(result, what="the run's outputs", limit=limit)}
        except (ExpressionError, InvalidPayloadError) as error:
            return {"status": "failed", "error": lifecycle.error_document(error)}
        done = [job.id for job in self.spec.jobs if self.statuses[job.id] == "succeeded"]
        return {"status": "succeeded", "result": self.result(done[-1]) if done else None}

    def _why(self, names: Iterable[str]) -> str:
        born = {row["id"]: row.get("error") for row in self.turn.rows}
        ids = {self.ids[name]: name for name in names}
        stored = JobPacket.objects.using(database.database()).filter(id__in=ids).values_list("id", "error")
        errors = {**born, **dict(stored)}
        reasons = [
            f"workflow job '{name}' {self.statuses[name]}: {(errors.get(job_id) or {}).get('message', 'no reason')}"
            for job_id, name in ids.items()
        ]
        return "; ".join(reasons[:5])


def _child_row(parent: JobPacket, job: JobSpec, payload: Any, *, workflow_job: str, item: int | None = None) -> Values:
    limit = conf.current().max_payload_bytes
    config = job.config.model_dump(mode="json", exclude_unset=True, exclude={"extra"})
    row = lifecycle.new_job(
        id=uuid5(parent.id, workflow_job if item is None else f"{workflow_job}/{item}"),
        type=job.type,
        worker=job.worker,
        payload=ensure_json(payload, what=f"the payload of '{workflow_job}'", limit=limit),
        config={**config, **job.config.extra},
        limits=JobConfig().updated(config),
        queue=job.queue or parent.queue,
        priority=parent.priority if job.priority is None else job.priority,
        workflow_job=workflow_job,
        item=item,
    )
    return lifecycle.child_of(parent, row)
