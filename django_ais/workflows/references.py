"""Every expression of a workflow file: does it parse, may it stand there, and does everything exist that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django_ais.exceptions import ExpressionError
from django_ais.workflows.document import Node
from django_ais.workflows.expressions import ROOTS, Expression, Reference, parse
from django_ais.workflows.graph import Ancestry, find_cycles
from django_ais.workflows.problems import Report, did_you_mean, quoted
from django_ais.workflows.reader import Draft, JobDraft, condition_text
from django_ais.workflows.schemas import Miss, WorkerInfo, declared_schema, find_miss
from django_ais.workflows.spec import Json
from django_ais.workflows.templates import Hole, holds_expression, split

_JOB_FIELDS = ("outputs", "status")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an expression stands in the file, the job it belongs to, and the item's name if it is known there."""

    node: Node
    start: int
    is_exact: bool
    job: JobDraft | None
    item: str | None = None

    def at(self, position: int) -> int:
        """The index in the file of a position in the expression; the beginning of the value where they do not match."""
        return self.start + position if self.is_exact else self.start


def check_expressions(
    draft: Draft, report: Report, inputs: Mapping[str, Json] | None, workers: Mapping[str, WorkerInfo | None]
) -> None:
    """Check every expression of the draft. ``inputs``: a valid schema or ``None``; ``workers`` by job id."""
    checker = _Checker(draft, report, inputs, workers)
    for job in draft.jobs:
        checker.check_job(job)
    if draft.outputs_node is not None:
        checker.check_template(draft.outputs_node, None)


class _Checker:
    def __init__(
        self,
        draft: Draft,
        report: Report,
        inputs: Mapping[str, Json] | None,
        workers: Mapping[str, WorkerInfo | None],
    ) -> None:
        self.report = report
        self.inputs = inputs
        self.jobs = draft.by_id()
        self.schemas = {job.id: _output_schemas(job, workers.get(job.id)) for job in draft.jobs}
        needs = {job.id: job.needs for job in self.jobs.values()}
        # In a cycle nobody waits in vain for an answer: that error stands alone.
        self.ancestry = None if find_cycles(needs) else Ancestry(needs)

    def check_job(self, job: JobDraft) -> None:
        if job.condition is not None:
            self.check_condition(job.condition, job)
        if job.foreach_in is not None:
            self.check_items(job.foreach_in, job)
        if job.with_node is not None:
            item = job.foreach.get("as") if job.foreach is not None else None
            self.check_template(job.with_node, job, item)

    def check_condition(self, node: Node, job: JobDraft) -> None:
        text = condition_text(node)
        start = self.report.text.find(text, node.start, node.end) if text else -1
        place = _Place(node, max(start, node.start), start >= 0, job)
        expression = self.parse(Hole(text, 0), place)
        if expression is None:
            return
        kind = expression.kind()
        if kind not in ("", "boolean"):
            message = f"'if' takes true or false, this gives a {kind}"
            self.report.add(place.at(0), "X211", message, "compare it: x != '', size(x) > 0, x == true")
        self.check_references(expression, place)

    def check_items(self, node: Node, job: JobDraft) -> None:
        if node.kind == "text":
            text = node.raw.strip()
            is_whole = text.startswith("${{") and text.endswith("}}") and text.count("${{") == 1
            if not is_whole:
                message = f"'in' of foreach in job {quoted(job.id)} takes a list, this gives a text"
                hint = "write one whole ${{ }}" if holds_expression(node.raw) else f"write ${{{{ {text[:40]} }}}}"
                self.report.add(node.start, "W104", message, hint)
        self.check_template(node, job)

    def check_template(self, node: Node, job: JobDraft | None, item: str | None = None) -> None:
        for member in node.all_keys():
            if holds_expression(member.name):
                self.report.add(member.start, "X210", "a key may not hold an expression", "only values are filled in")
        for text in node.all_texts():
            if "${{" in text.raw:
                self.check_text(text, job, item)

    def check_text(self, node: Node, job: JobDraft | None, item: str | None) -> None:
        try:
            pieces = split(node.raw)
        except ExpressionError as error:
            place = self.place(node, error.position or 0, job, item)
            self.report.add(place.start, error.rule, str(error), error.hint)
            return
        for piece in pieces:
            if isinstance(piece, Hole):
                place = self.place(node, piece.start, job, item, piece.body)
                expression = self.parse(piece, place)
                if expression is not None:
                    self.check_references(expression, place)

    def place(self, node: Node, offset: int, job: JobDraft | None, item: str | None, body: str = "") -> _Place:
        """Find in the file what stands at ``offset`` of a text: quotes, escapes and folded lines shift it."""
        source, index = self.report.text, node.start
        for _ in range(node.raw.count("${{", 0, offset + (0 if body else 3))):
            index = source.find("${{", index, node.end) + 3
            if index < 3:
                return _Place(node, node.start, False, job, item)
        if not body:
            return _Place(node, max(index - 3, node.start), True, job, item)
        return _Place(node, index, source.startswith(body, index), job, item)

    def parse(self, hole: Hole, place: _Place) -> Expression | None:
        try:
            return parse(hole.body)
        except ExpressionError as error:
            self.report.add(place.at(error.position or 0), error.rule, str(error), error.hint)
            return None

    def check_references(self, expression: Expression, place: _Place) -> None:
        for reference in expression.references():
            self.check_reference(reference, place)

    def check_reference(self, reference: Reference, place: _Place) -> None:
        root = str(reference.path[0])
        if root == "inputs":
            self.check_input(reference, place)
        elif root == "jobs":
            self.check_job_reference(reference, place)
        elif root == "run":
            self.check_only_field(reference, place, "id")
        elif root == "loop" and place.item is not None:
            self.check_only_field(reference, place, "index")
        elif root != place.item:
            self.report_root(root, reference, place)

    def add(self, place: _Place, reference: Reference, part: int, code: str, message: str, hint: str = "") -> None:
        position = reference.positions[min(part, len(reference.positions) - 1)]
        self.report.add(place.at(position), code, message, hint)

    def report_root(self, root: str, reference: Reference, place: _Place) -> None:
        own = place.job.foreach.get("as") if place.job and place.job.foreach is not None else None
        if root in ("loop", own):
            hint = "'if' and 'in' are evaluated once, before the items" if own else "give the job a 'foreach'"
            self.add(
                place, reference, 0, "X209", f"{quoted(root)} is known only in 'with' of a job with 'foreach'", hint
            )
        elif root == "failure":
            self.add(place, reference, 0, "X209", "'failure' is known only in on_failure, on_cancel and finally")
        else:
            known = [name for name in (*ROOTS[:2], "run", place.item) if name] + (["loop"] if place.item else [])
            hint = f"write jobs.{root}.outputs" if root in self.jobs else did_you_mean(root, known)
            lowered = root.lower() if root in ("True", "False", "Null") else "null" if root == "None" else ""
            hint = f"write {lowered}" if lowered else hint or f"known here: {', '.join(known)}"
            self.add(place, reference, 0, "X201", f"there is no {quoted(root)} here", hint)

    def check_only_field(self, reference: Reference, place: _Place, name: str) -> None:
        root, rest = reference.path[0], reference.path[1:]
        if rest != (name,) or reference.is_partial:
            self.add(
                place, reference, 1, "X206", f"{quoted(root)} has the one field {quoted(name)}", f"write {root}.{name}"
            )

    def check_input(self, reference: Reference, place: _Place) -> None:
        miss = find_miss(self.inputs, reference.path[1:])
        if miss is None:
            return
        name = reference.path[1 + miss.index]
        owner = ".".join(map(str, reference.path[: 1 + miss.index]))
        told = "the workflow has no input" if miss.index == 0 else f"{quoted(owner)} has no field"
        if miss.is_list:
            told = f"{quoted(owner)} is a list and has no field"
        hint = did_you_mean(str(name), miss.known)
        self.add(place, reference, 1 + miss.index, "X202", f"{told} {quoted(name)}", hint)

    def check_job_reference(self, reference: Reference, place: _Place) -> None:
        job_id = reference.path[1] if len(reference.path) > 1 else None
        if not isinstance(job_id, str):
            self.add(place, reference, 0, "X203", "'jobs' must be followed by a job's id", "write jobs.<id>.outputs")
        elif job_id not in self.jobs:
            self.add(place, reference, 1, "X203", f"there is no job {quoted(job_id)}", did_you_mean(job_id, self.jobs))
        else:
            self.check_waits(job_id, reference, place)
            self.check_outputs(job_id, reference, place)

    def check_waits(self, job_id: str, reference: Reference, place: _Place) -> None:
        if place.job is None or self.ancestry is None or self.ancestry.waits_for(place.job.id, job_id):
            return
        if job_id == place.job.id:
            self.add(
                place, reference, 0, "X204", f"job {quoted(job_id)} reads itself", "it has no outputs before it ran"
            )
            return
        message = f"job {quoted(place.job.id)} reads {quoted(job_id)} but does not wait for it"
        self.add(place, reference, 0, "X204", message, f"add {quoted(job_id)} to needs of {quoted(place.job.id)}")

    def check_outputs(self, job_id: str, reference: Reference, place: _Place) -> None:
        field = reference.path[2] if len(reference.path) > 2 else None
        if field not in _JOB_FIELDS or (field == "status" and len(reference.path) > 3):
            hint = f"write jobs.{job_id}.outputs.{field}" if isinstance(field, str) else f"write jobs.{job_id}.outputs"
            hint = f"jobs.{job_id}.status is a text" if field == "status" else hint
            self.add(place, reference, 2, "X206", "a job has 'outputs' and 'status' and nothing else", hint)
            return
        for schema in self.schemas[job_id] if field == "outputs" else ():
            miss = find_miss(schema, reference.path[3:])
            if miss is not None:
                self.report_output(job_id, miss, reference, place)
                return

    def report_output(self, job_id: str, miss: Miss, reference: Reference, place: _Place) -> None:
        name = str(reference.path[3 + miss.index])
        hint = did_you_mean(name, miss.known)
        if miss.is_list and miss.index == 0:
            message = f"job {quoted(job_id)} runs once for each item, its outputs are a list"
            hint = f"write jobs.{job_id}.outputs[0].{name}"
        elif miss.is_list:
            message, hint = f"a list has no field {quoted(name)}", "the first item is list[0]"
        elif miss.index:
            message = f"this output of job {quoted(job_id)} has no field {quoted(name)}"
        else:
            message = f"job {quoted(job_id)} declares no output {quoted(name)}"
        self.add(place, reference, 3 + miss.index, "X205", message, hint)


def _output_schemas(job: JobDraft, worker: WorkerInfo | None) -> list[Mapping[str, Json]]:
    """What a job's outputs look like: as it declares them, and as its worker's model does. A list for ``foreach``."""
    schemas: list[Mapping[str, Json]] = []
    if job.outputs_node is not None:
        schemas.append(declared_schema(job.outputs_node.json()))
    if worker is not None and worker.output_schema is not None:
        schemas.append(worker.output_schema)
    if job.foreach is None:
        return schemas
    return [_list_of(schema) for schema in schemas] or [{"type": "array"}]


def _list_of(schema: Mapping[str, Json]) -> Mapping[str, Json]:
    """A list of these. Definitions move up, so that references inside still find them."""
    return {"type": "array", "items": schema, "$defs": schema.get("$defs", {})}
