"""Checkpoints: a step that is recorded as done is never executed again, on any attempt.

A step is written only while its job's row is held under the fence, together with what the job has said so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django_ais import conf
from django_ais.exceptions import LeaseLost, StepInDoubtError, StepMismatch
from django_ais.models import JobStep
from django_ais.runtime import database, failpoints, journal, sql
from django_ais.runtime.engine import Attempt, Moved, add_children
from django_ais.runtime.lifecycle import Values
from django_ais.values import ensure_json, fingerprint
from django_ais.workers import Repeat


@dataclass
class Usage:
    """What a step used. ``cost`` in micro-units."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0


@dataclass
class Outcome:
    """What a step came to: its output (JSON), or the error that ends it as ``failed``; and what it used."""

    output: Any = None
    error: BaseException | None = None
    usage: Usage = field(default_factory=Usage)


class Ledger:
    """The steps of one attempt's job. What earlier claims recorded is read once, and only if there were any."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._known: dict[str, JobStep] | None = None

    def known(self) -> dict[str, JobStep]:
        """The job's recorded steps by key."""
        if self._known is None:
            self._known = {}
            # Not the attempt's number: a claim that was given back is no attempt, and its steps are done all the same.
            if self._attempt.row.lease_epoch > 1 or self._attempt.row.retry_of_id is not None:
                rows = JobStep.objects.using(database.database()).filter(job_id=self._attempt.row.id)
                self._known = {row.key: row for row in rows}
        return self._known

    def done(self, key: str, inputs: Any) -> JobStep | None:
        """The record of a finished step; raises `StepMismatch` if it had another input."""
        step = self.known().get(key)
        if step is None or step.status != "done":
            return None
        if step.fingerprint != fingerprint(inputs):
            raise StepMismatch(
                f"step '{key}' of job {self._attempt.row.id} was recorded with another input. The code or its data "
                "changed between attempts: give the step another name, or retry the job as a new one (jobs.retry)."
            )
        return step

    def run(self, key: str, kind: str, inputs: Any, call: Callable[[], Outcome], *, repeat: Repeat) -> Any:
        """Return the recorded output of a step, or execute it and record what it came to.

        A call that may not simply be made again has its intent recorded first. Raises the call's own error, after
        recording it as ``failed`` where the outcome says so.
        """
        self._attempt.lease.check()
        if (step := self.done(key, inputs)) is not None:
            return step.output
        self._refuse_doubt(key, repeat)
        if repeat != "safe":
            self._record(key, kind, "intended", inputs, Outcome())
        outcome = self._outcome(call, repeat)
        failpoints.hit("after_effect_before_record")
        self._record(key, kind, "failed" if outcome.error else "done", inputs, outcome)
        if outcome.error is not None:
            raise outcome.error
        return outcome.output

    def _outcome(self, call: Callable[[], Outcome], repeat: Repeat) -> Outcome:
        """What the call came to. An error of its own is an outcome too; only a crash or a lost lease leaves doubt."""
        try:
            return call()
        except Exception as error:
            if repeat != "never" or self._attempt.lease.ended is not None:
                raise
            return Outcome(error=error)

    def _refuse_doubt(self, key: str, repeat: Repeat) -> None:
        step = self.known().get(key)
        if step is not None and step.status == "intended" and repeat == "never":
            raise StepInDoubtError(
                f"step '{key}' of job {self._attempt.row.id} was begun and a crash hid its outcome; it may not be "
                "repeated by itself. See what it did; then jobs.resume(job) tries it again, or jobs.cancel(job)."
            )

    def _record(self, key: str, kind: str, status: str, inputs: Any, outcome: Outcome) -> None:
        limit = conf.current().max_payload_bytes
        values: Values = {
            "job_id": self._attempt.row.id,
            "key": key,
            "kind": kind,
            "status": status,
            "fingerprint": fingerprint(inputs),
            "output": ensure_json(outcome.output, what=f"the output of step '{key}'", limit=limit),
            "error": None if outcome.error is None else {"type": type(outcome.error).__name__},
            "input_tokens": outcome.usage.input_tokens,
            "output_tokens": outcome.usage.output_tokens,
            "cost": outcome.usage.cost,
            "created_at": database.now(),
            "finished_at": None if status == "intended" else database.now(),
        }
        if database.can_combine():
            with self._attempt.buffer.draining() as pending:
                if not journal.record_step(self._attempt.lease, values, pending):
                    raise LeaseLost(f"job {self._attempt.row.id} belongs to somebody else now")
        else:
            self._write(lambda moved: sql.upsert_step(values))
        self._add_usage(outcome.usage)

    def _write(self, work: Callable[[Moved], None]) -> Moved:
        attempt = self._attempt

        def whole() -> Moved:
            if not sql.hold_fenced(attempt.lease.job_id, attempt.lease.epoch, attempt.lease.owner):
                raise LeaseLost(f"job {attempt.row.id} belongs to somebody else now")
            moved = Moved()
            work(moved)
            journal.write(attempt.row.root_id, attempt.row.tenant, [*pending, *moved.drafts])
            return moved

        with attempt.buffer.draining() as pending:
            return database.transact(whole)

    def _add_usage(self, usage: Usage) -> None:
        row = self._attempt.row
        row.input_tokens += usage.input_tokens
        row.output_tokens += usage.output_tokens
        row.cost += usage.cost
        if row.input_tokens or row.output_tokens or row.cost:
            self._attempt.totals = {
                "input_tokens": row.input_tokens,
                "output_tokens": row.output_tokens,
                "cost": row.cost,
            }

    def recount(self) -> None:
        """Take the usage of earlier attempts from their steps: a crash may have kept it from the job's row."""
        steps = self.known().values()
        row = self._attempt.row
        row.input_tokens = sum(step.input_tokens for step in steps)
        row.output_tokens = sum(step.output_tokens for step in steps)
        row.cost = sum(step.cost for step in steps)
        self._add_usage(Usage())

    def child(self, key: str, row: Values, inputs: Any) -> tuple[UUID, Moved]:
        """Create a child job as a step: its row, the parent's count and the step together; once, on any attempt."""
        self._attempt.lease.check()
        self._attempt.has_children = True
        if (step := self.done(key, inputs)) is not None:
            return UUID((step.output or {})["job"]), Moved()
        values = {
            "job_id": self._attempt.row.id,
            "key": key,
            "kind": "child",
            "status": "done",
            "fingerprint": fingerprint(inputs),
            "output": {"job": str(row["id"])},
            "created_at": database.now(),
            "finished_at": database.now(),
        }

        def work(moved: Moved) -> None:
            add_children(self._attempt.row, [row], moved)
            sql.upsert_step(values)

        return row["id"], self._write(work)

    def has_children(self) -> bool:
        """Whether this or an earlier attempt has created children."""
        return self._attempt.has_children or any(step.kind == "child" for step in self.known().values())
