"""What joins a workflow together: needs, workers, schemas, config. (Expressions: `references`.) It only reports."""

from __future__ import annotations

from collections.abc import Mapping

from django_ais.workflows import references
from django_ais.workflows.configs import CONFIG_KEYS, ConfigDraft
from django_ais.workflows.document import NAMES, Field, Node
from django_ais.workflows.graph import find_cycles
from django_ais.workflows.problems import Report, did_you_mean, quoted
from django_ais.workflows.reader import Draft, JobDraft
from django_ais.workflows.schemas import (
    TYPES,
    WorkerInfo,
    default_faults,
    faults,
    find_miss,
    find_worker,
    schema_fault,
)
from django_ais.workflows.templates import holds_expression

# Texts for people and patterns: `${{` in them is not taken for an expression that somebody expects to run.
_FREE_SCHEMA_KEYS = frozenset({"description", "title", "$comment", "pattern", "examples"})
_SCHEMA_KEYS = frozenset(
    "$schema $id $ref $defs $comment $anchor $dynamicRef definitions type title description default examples "
    "enum const properties required additionalProperties patternProperties propertyNames minProperties maxProperties "
    "dependentRequired dependentSchemas unevaluatedProperties allOf anyOf oneOf not if then else".split()
)
_SHOWN_JOBS = 10


def check(draft: Draft, report: Report, workers: Mapping[str, WorkerInfo] | None) -> None:
    """Check a draft as a whole. ``workers`` ``None``: what only they could tell is not checked."""
    _check_needs(draft, report)
    inputs_are_valid = _check_inputs(draft, report)
    known = {job.id: find_worker(job.worker, workers) if workers is not None else None for job in draft.jobs}
    for job in draft.jobs:
        worker = known[job.id]
        if workers is not None and worker is None:
            _report_worker(job, report, workers)
        outputs_are_valid = _check_outputs(job, worker, report)
        _check_config(job, draft.default_config, worker, report)
        if not outputs_are_valid:
            job.outputs_node = None  # reported; what it declares cannot be relied on
    inputs = draft.inputs_node.json() if draft.inputs_node and inputs_are_valid else None
    references.check_expressions(draft, report, inputs, known)


def _check_needs(draft: Draft, report: Report) -> None:
    jobs = draft.by_id()
    for job in draft.jobs:
        for node in job.need_nodes:
            if node.raw not in jobs:
                message = f"job {quoted(job.id)} needs {quoted(node.raw)}, which is not a job here"
                report.add(node.start, "W121", message, did_you_mean(node.raw, jobs))
    for cycle in find_cycles({job.id: job.needs for job in jobs.values()}):
        place = next((node for node in jobs[cycle[0]].need_nodes if node.raw == cycle[1]), jobs[cycle[0]].node)
        shown = cycle if len(cycle) <= _SHOWN_JOBS else (*cycle[: _SHOWN_JOBS - 1], "...", cycle[-1])
        hint = "each arrow reads 'needs'; take one of them out"
        report.add(place.start, "W122", f"jobs wait for one another: {' -> '.join(shown)}", hint)


def _report_worker(job: JobDraft, report: Report, workers: Mapping[str, WorkerInfo]) -> None:
    names = [*workers, *(worker.path for worker in workers.values() if "." in job.worker)]
    hint = did_you_mean(job.worker, names) or "register the class, or name one that is: " + ", ".join(list(workers)[:5])
    report.add(job.worker_node.start, "W130", f"no worker is registered as {quoted(job.worker)}", hint.rstrip(": "))


def _check_config(job: JobDraft, defaults: ConfigDraft, worker: WorkerInfo | None, report: Report) -> None:
    extra = defaults.extra | job.config.extra
    if worker is not None and worker.config_schema is not None:
        _check_worker_config(job, extra, worker.config_schema, worker, report)
        return
    for name, member in extra.items():
        hint = did_you_mean(name, CONFIG_KEYS)
        if worker is None and not hint:
            continue  # nobody can tell
        told = f"worker {quoted(worker.name)} declares no config" if worker else "it is no key of ours"
        report.add(
            member.start,
            "W102",
            f"unknown key {quoted(name)} in config is not checked: {told}",
            hint,
            severity="warning",
        )


def _check_worker_config(
    job: JobDraft, extra: Mapping[str, Field], schema: Mapping[str, object], worker: WorkerInfo, report: Report
) -> None:
    properties = schema.get("properties")
    names = tuple(properties) if isinstance(properties, Mapping) else ()
    is_closed = schema.get("additionalProperties") in (None, False) and isinstance(properties, Mapping)
    unknown = [name for name in extra if is_closed and name not in names]
    for name in unknown:
        hint = did_you_mean(name, (*CONFIG_KEYS, *names)) or f"worker {quoted(worker.name)} knows {', '.join(names)}"
        report.add(extra[name].start, "W101", f"unknown key {quoted(name)} in config", hint)
    if schema_fault(schema):
        return  # the worker's mistake, not the file's
    value = {name: member.value.json() for name, member in extra.items() if name not in unknown}
    for path, message in faults(schema, value):
        place = extra[str(path[0])].value.start if path else job.config.start or job.worker_node.start
        where = ".".join(map(str, ("config", *path)))
        report.add(place, "W103", f"{where} does not fit worker {quoted(worker.name)}: {message}")


def _check_inputs(draft: Draft, report: Report) -> bool:
    node = draft.inputs_node
    if node is None:
        return True
    _refuse_expressions(node, report)
    schema = node.json()
    strange = [member for name, member in node.fields.items() if name not in _SCHEMA_KEYS and not name.startswith("x-")]
    fault = schema_fault(schema)
    if fault:
        report.add(node.start, "W115", f"'inputs' is not a JSON Schema: {fault}", "see json-schema.org, draft 2020-12")
    elif schema.get("type", "object") != "object":
        report.add(
            node.start, "W115", "'inputs' describes an object, not " + quoted(schema["type"]), "write type: object"
        )
    elif strange and "properties" not in schema:
        hint = "put the fields below 'properties'"
        report.add(strange[0].start, "W115", f"{quoted(strange[0].name)} means nothing in a JSON Schema", hint)
    else:
        for name, message in default_faults(schema):
            place = node.fields["properties"].value.fields[name].start
            report.add(
                place, "W115", f"the default of {quoted(name)} does not fit it: {message}", "change one of the two"
            )
        return True
    return False


def _refuse_expressions(node: Node, report: Report) -> None:
    if node.kind == "text" and holds_expression(node.raw):
        hint = "inputs are given at the start; compute from them in a job's 'with'"
        report.add(node.start, "X210", "'inputs' may not hold an expression", hint)
    for name, member in node.fields.items():
        if name not in _FREE_SCHEMA_KEYS:
            _refuse_expressions(member.value, report)
    for item in node.items:
        _refuse_expressions(item, report)


def _check_outputs(job: JobDraft, worker: WorkerInfo | None, report: Report) -> bool:
    """The names that a job declares: well formed, and known to its worker. Whether they are well formed."""
    fields = job.outputs_node.fields if job.outputs_node else {}
    is_valid = True
    for name, member in fields.items():
        fault, hint = _output_fault(member.value)
        if fault:
            report.add(member.value.start, "W115", f"output {quoted(name)} of job {quoted(job.id)} {fault}", hint)
            is_valid = False
        miss = find_miss(worker.output_schema, [name]) if worker else None
        if miss is not None and worker is not None:
            message = f"worker {quoted(worker.name)} gives no output {quoted(name)}"
            report.add(
                member.start, "X205", message, did_you_mean(name, miss.known) or f"it gives {', '.join(miss.known)}"
            )
    return is_valid


def _output_fault(node: Node) -> tuple[str, str]:
    if node.kind == "text" and holds_expression(node.raw):
        return "declares a type and holds no expression", "expressions stand in the workflow's 'outputs'"
    if node.kind == "text":
        hint = did_you_mean(node.raw, TYPES) or f"one of {', '.join(TYPES)}, or a JSON Schema"
        return ("", "") if node.raw in TYPES else (f"has the unknown type {quoted(node.raw)}", hint)
    if node.kind == "map":
        fault = schema_fault(node.json())
        return (f"is not a JSON Schema: {fault}", "see json-schema.org, draft 2020-12") if fault else ("", "")
    return f"takes a type or a JSON Schema, not {NAMES[node.kind]}", f"one of {', '.join(TYPES)}"
