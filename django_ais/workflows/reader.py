"""From a tree of nodes to a draft: the shape of a workflow, key by key. What joins its jobs is `checks`' matter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from django_ais.workflows.configs import ConfigDraft, read_config
from django_ais.workflows.document import NAMES, Node
from django_ais.workflows.problems import Report, did_you_mean, quoted
from django_ais.workflows.sections import Section, written
from django_ais.workflows.spec import (
    DEFAULT_MAX_ITEMS,
    DEFAULT_VERSION,
    SCHEMA,
    DefaultsSpec,
    ForeachSpec,
    JobSpec,
    Json,
    WorkflowSpec,
)

WORKFLOW_KEYS = (
    "schema", "name", "version", "description", "labels", "inputs", "defaults", "jobs", "outputs",
)  # fmt: skip
WORKFLOW_KEYS_LATER = ("budget", "concurrency", "triggers", "on_failure", "on_cancel", "finally")
JOB_KEYS = (
    "id", "type", "worker", "queue", "priority", "needs", "join", "if", "foreach", "with", "config", "outputs",
    "description", "labels",
)  # fmt: skip
TYPES_LATER = ("approval", "workflow", "wait")
FOREACH_KEYS = ("in", "as", "limit", "max_items", "on_item_failure")
JOINS = ("all_succeeded", "none_failed", "any_succeeded", "all_done")
ON_ITEM_FAILURE = ("stop", "collect", "ignore")
# Names that an expression can never read, because they mean something else there.
RESERVED = ("inputs", "jobs", "loop", "run", "failure", "true", "false", "null", "in")
LARGEST_PRIORITY = 100  # the scale of jobs.dispatch
MAX_FOREACH_ITEMS = 100_000
_NO_QUEUE: dict[str, Json] = {"queue": None, "priority": None}
_NAME = re.compile(r"\w[\w.-]{0,99}")
_VERSION = re.compile(r"[^\s@]{1,50}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(slots=True)
class JobDraft:
    """A workflow job on its way: what the file says, with the nodes that problems point at."""

    node: Node
    id: str
    type: str
    worker: str
    worker_node: Node
    needs: list[str] = field(default_factory=list)
    need_nodes: list[Node] = field(default_factory=list)
    values: dict[str, Json] = field(default_factory=dict)
    condition: Node | None = None
    foreach: dict[str, Json] | None = None
    foreach_in: Node | None = None
    with_node: Node | None = None
    outputs_node: Node | None = None
    config: ConfigDraft = field(default_factory=ConfigDraft)


@dataclass(slots=True)
class Draft:
    """A whole workflow on its way. `build` may be called once no error has been reported.

    It sets every field except those of ``config``, so that one meaning has one digest; there, what the file does not
    say stays unset, so that a worker's own defaults can hold.
    """

    node: Node
    values: dict[str, Json]
    jobs: list[JobDraft]
    inputs_node: Node | None
    outputs_node: Node | None
    default_values: dict[str, Json]
    default_config: ConfigDraft

    def by_id(self) -> dict[str, JobDraft]:
        """The jobs by id; of two with the same id (that is reported) the first."""
        first: dict[str, JobDraft] = {}
        for job in self.jobs:
            first.setdefault(job.id, job)
        return first

    def build(self) -> WorkflowSpec:
        """The spec, with defaults merged into every job."""
        own_config = self.default_config.build(ConfigDraft())
        defaults = DefaultsSpec(**(_NO_QUEUE | self.default_values), config=own_config)
        jobs = tuple(self._job(job) for job in self.jobs)
        return WorkflowSpec(
            **self.values,
            inputs=self.inputs_node.json() if self.inputs_node else None,
            defaults=defaults,
            jobs=jobs,
            outputs=self.outputs_node.json() if self.outputs_node else None,
        )

    def _job(self, job: JobDraft) -> JobSpec:
        return JobSpec(
            id=job.id,
            type=job.type,
            worker=job.worker,
            needs=tuple(job.needs),
            if_=condition_text(job.condition) if job.condition else None,
            foreach=ForeachSpec(**job.foreach) if job.foreach is not None else None,
            with_=job.with_node.json() if job.with_node else None,
            config=job.config.build(self.default_config),
            outputs=job.outputs_node.json() if job.outputs_node else None,
            **(_NO_QUEUE | self.default_values | job.values),
        )


def condition_text(node: Node) -> str:
    """The expression of an ``if``: its text, without ``${{ }}`` where it has them."""
    if node.kind == "boolean":
        return "true" if node.scalar else "false"
    text = node.raw.strip()
    if text.startswith("${{") and text.endswith("}}") and text.count("${{") == 1:
        return text[3:-2].strip()
    return text


def read(root: Node, report: Report) -> Draft | None:
    """Read the whole file. ``None`` where its format version is not ours: then nothing else in it can be judged."""
    section = Section.of(root, "a workflow", report)
    if section is None or not _is_our_schema(section):
        return None
    section.where = "the workflow"
    section.close(WORKFLOW_KEYS, WORKFLOW_KEYS_LATER)
    default_values, default_config = _read_defaults(section)
    return Draft(
        node=root,
        values=_read_identity(section),
        jobs=list(_read_jobs(section)),
        inputs_node=section.get("inputs", "map", wanted="a JSON Schema object"),
        outputs_node=section.get("outputs"),
        default_values=default_values,
        default_config=default_config,
    )


def _is_our_schema(section: Section) -> bool:
    node = section.get("schema")
    if node is None or node.raw == SCHEMA:
        return True
    written_as = quoted(node.raw) if node.kind == "text" else NAMES[node.kind]
    section.report.add(node.start, "W100", f"this version reads 'schema: {SCHEMA}', not {written_as}")
    return False


def _read_identity(section: Section) -> dict[str, Json]:
    name = section.text("name") if section.require("name") else None
    if name is not None and not _NAME.fullmatch(name):
        hint = "letters, digits, '_', '-' and '.', beginning with a letter or a digit"
        section.report.add(section.node.fields["name"].value.start, "W112", f"{quoted(name)} is not a name", hint)
    return written(
        {
            "name": name,
            "version": _read_version(section),
            "description": section.free_text("description"),
            "labels": section.labels(),
        }
    )


def _read_version(section: Section) -> str:
    node = section.get("version", "text", "number", wanted="a text")
    if node is None or section.refuse_expression("version", node):
        return DEFAULT_VERSION
    if not _VERSION.fullmatch(node.raw) or not node.raw.isprintable():
        hint = "1 to 50 characters without spaces and '@'"
        section.report.add(node.start, "W112", f"{quoted(node.raw)} is not a version", hint)
    elif node.kind == "number":
        hint = "quote it to keep other YAML tools from reading it as a number"
        section.report.add(node.start, "W110", f'version read as the text "{node.raw}"', hint, severity="info")
    return node.raw


def _read_defaults(section: Section) -> tuple[dict[str, Json], ConfigDraft]:
    node = section.get("defaults", "map")
    if node is None:
        return {}, ConfigDraft()
    defaults = Section(node, "defaults", section.report)
    defaults.close(("queue", "priority", "config"))
    return _read_queue(defaults), read_config(defaults)


def _read_queue(section: Section) -> dict[str, Json]:
    """``queue`` and ``priority``; a key without a value takes a default away again."""
    values: dict[str, Json] = {
        "queue": section.text("queue"),
        "priority": section.integer("priority", -LARGEST_PRIORITY, LARGEST_PRIORITY),
    }
    return {key: value for key, value in values.items() if key in section.node.fields}


def _read_jobs(section: Section) -> Iterator[JobDraft]:
    if not section.require("jobs"):
        return
    node = section.get("jobs", "list", wanted="a list of jobs")
    if node is not None and not node.items:
        section.report.add(node.start, "W105", "the workflow has no jobs", "add one: '- type: SUMMARIZE'")
    found = [Section.of(item, "a job", section.report) for item in node.items] if node else []
    jobs = [job for job in found if job is not None]
    ids = _name_jobs(jobs)
    before: str | None = None
    for job, job_id in zip(jobs, ids, strict=True):
        job.where = f"job {quoted(job_id)}"
        draft = _read_job(job, job_id, before)
        if draft is not None:
            yield draft
        before = job_id


def _name_jobs(jobs: list[Section]) -> list[str]:
    """Every job's id: the one it gives itself, else one made from its type and unique in the file."""
    given = [_given_id(job) for job in jobs]
    lines: dict[str, int] = {}
    for job, job_id in zip(jobs, given, strict=True):
        if job_id in lines:
            message = f"job id {quoted(job_id)} is used twice (first at line {lines[job_id]})"
            job.report.add(job.node.fields["id"].value.start, "W120", message)
        elif job_id is not None:
            lines[job_id] = job.report.line_of(job.node.fields["id"].value.start)
    taken = set(lines)
    return [job_id or _made_id(job, taken) for job, job_id in zip(jobs, given, strict=True)]


def _given_id(job: Section) -> str | None:
    job_id = job.text("id")
    if job_id is None:
        return None
    hint = "letters, digits and '_', beginning with a letter: expressions read it as jobs.<id>"
    if not _IDENTIFIER.fullmatch(job_id):
        job.report.add(job.node.fields["id"].value.start, "W112", f"{quoted(job_id)} is not a job's id", hint)
    elif job_id in RESERVED[-4:]:
        job.report.add(job.node.fields["id"].value.start, "W112", f"{quoted(job_id)} is a word of expressions", hint)
    return job_id


def _made_id(job: Section, taken: set[str]) -> str:
    node = job.node.fields.get("type")
    base = re.sub(r"[^A-Za-z0-9_]", "_", node.value.raw if node else "")[:90] or "job"
    base = f"_{base}" if base[0].isdigit() or base in RESERVED[-4:] else base
    made, number = base, 2
    while made in taken:
        made, number = f"{base}_{number}", number + 1
    taken.add(made)
    return made


def _read_job(section: Section, job_id: str, before: str | None) -> JobDraft | None:
    section.close(JOB_KEYS)
    kind = section.text("type") if section.require("type") else None
    if kind is None:
        kind = job_id  # go on: the rest of the job may have problems too
    worker = section.text("worker", longest=200)
    source = section.node.fields.get("worker" if worker else "type")
    draft = JobDraft(section.node, job_id, kind, worker or kind, source.value if source else section.node)
    _refuse_later(section, draft)
    _read_needs(section, draft, before)
    draft.values = {
        **_read_queue(section),
        "join": section.choice("join", JOINS) or JOINS[0],
        "description": section.free_text("description"),
        "labels": section.labels(),
    }
    draft.condition = section.get("if", "text", "boolean", wanted="an expression")
    draft.with_node = section.get("with")
    draft.outputs_node = section.get("outputs", "map", wanted="a mapping of names to types")
    draft.config = read_config(section)
    _read_foreach(section, draft)
    return draft


def _refuse_later(section: Section, draft: JobDraft) -> None:
    for word in TYPES_LATER:
        if f"ais.{word}" == draft.worker or (word == draft.type == draft.worker):
            message = f"'type: {word}' is not supported yet by this version"
            section.report.add(draft.worker_node.start, "W150", message, "leave the job out")


def _read_needs(section: Section, draft: JobDraft, before: str | None) -> None:
    if "needs" not in section.node.fields:
        draft.needs = [before] if before is not None else []
        return
    node = section.node.fields["needs"].value
    if node.kind != "list":
        hint = f"write [{node.raw}]" if node.kind == "text" else "write [] to start at once, or leave the key out"
        section.wrong("needs", node, "a list of job ids", hint)
        return
    for item in section.texts("needs") or ():
        if item.raw in draft.needs:
            section.report.add(item.start, "W123", f"{section.where} names {quoted(item.raw)} twice in its needs")
        else:
            draft.needs.append(item.raw)
            draft.need_nodes.append(item)


def _read_foreach(section: Section, draft: JobDraft) -> None:
    node = section.get("foreach", "map", wanted="a mapping with 'in' and 'as'")
    if node is None:
        return
    foreach = Section(node, f"foreach of {section.where}", section.report)
    foreach.close(FOREACH_KEYS)
    name = foreach.text("as") if foreach.require("as") else None
    if name is not None and (not _IDENTIFIER.fullmatch(name) or name in RESERVED):
        hint = did_you_mean(name, ("item", "page", "row")) or "a word such as 'item'; not a word of expressions"
        foreach.report.add(node.fields["as"].value.start, "W112", f"{quoted(name)} cannot name an item", hint)
    draft.foreach_in = (
        foreach.get("in", "text", "list", wanted="a list or one ${{ }}") if foreach.require("in") else None
    )
    draft.foreach = {
        "in": draft.foreach_in.json() if draft.foreach_in else None,
        "as": name,
        "limit": foreach.integer("limit", 1, MAX_FOREACH_ITEMS),
        "max_items": foreach.integer("max_items", 1, MAX_FOREACH_ITEMS) or DEFAULT_MAX_ITEMS,
        "on_item_failure": foreach.choice("on_item_failure", ON_ITEM_FAILURE) or ON_ITEM_FAILURE[0],
    }
