"""Run one message: claim, heartbeat, prepare, work, settle. What every queue driver calls for each job id
(`handle`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db import DatabaseError
from django.db.models import F

from django_ais import conf, events, jitter, registry, signals
from django_ais.exceptions import (
    ChildrenFailedError,
    ConfigurationError,
    JobError,
    JobTimeoutError,
    LeaseLost,
    StepInDoubtError,
    StopJob,
)
from django_ais.models import JobPacket
from django_ais.queues import ACK, Outcome, retry_in
from django_ais.retry import Failure, JobConfig, RetryDecision, limits_of
from django_ais.runtime import bridge, database, engine, failpoints, flushing, lifecycle, links, relay
from django_ais.runtime.active import RunningJob, child_row, overrides, tell_failure
from django_ais.runtime.engine import Attempt, Moved
from django_ais.runtime.journal import Buffer
from django_ais.runtime.leases import GRACE_SECONDS, Lease, keeper
from django_ais.runtime.occupancy import occupancy
from django_ais.runtime.source import due_jobs
from django_ais.runtime.steps import Outcome as StepOutcome
from django_ais.strategies import fit
from django_ais.values import ensure_json
from django_ais.workers import BaseWorker, Child, ChildResult

logger = logging.getLogger("django_ais.runner")

ENDING = "after interpreter shutdown"  # what Python says to whoever wants a thread while the process ends
BUSY_SECONDS = 1.0  # come again: this process runs a job that must be alone
DATABASE_DOWN_SECONDS = 2.0
BROKEN_SECONDS = 10.0  # come again: something around the job is broken, a deploy perhaps


def handle(job_id: str) -> Outcome:
    """Run a job if it is due and nobody else has it. Never raises; acknowledges only what is settled or not ours to
    run.
    """
    try:
        key = UUID(job_id)
    except ValueError:
        logger.warning("a message names %r, which is no job id", job_id[:80])
        return ACK
    inline = database.is_in_transaction()
    try:
        if not inline:
            links.tidy(at_rest=False)
            relay.sweeper.start()
        return _handle(key, inline=inline)
    except DatabaseError:
        logger.warning("the database failed around job %s", job_id, exc_info=True)
        return retry_in(DATABASE_DOWN_SECONDS)
    except Exception:  # the runner's edge: a message is not acknowledged for what we do not understand
        logger.exception("job %s could not be handled", job_id)
        return retry_in(BROKEN_SECONDS)
    finally:
        if not inline:
            links.tidy(at_rest=True)


def _handle(job_id: UUID, *, inline: bool) -> Outcome:
    if (reserved := due_jobs.take(job_id)) is not None:
        return _finishing(lambda: run_claimed(*reserved, inline=inline))
    alone = occupancy.enter()
    if alone is None:
        return retry_in(BUSY_SECONDS)
    return _finishing(lambda: _claim_and_run(job_id, alone=alone, inline=inline))


def _finishing(run: Callable[[], None]) -> Outcome:
    try:
        run()
    finally:
        occupancy.leave()
    return ACK


def _claim_and_run(job_id: UUID, *, alone: bool, inline: bool) -> None:
    row: JobPacket | None = None
    try:
        claimed = lifecycle.claim(job_id, alone=alone, inline=inline)
        row = claimed[0] if claimed else None
    finally:
        if alone:
            occupancy.admit(row)
    if claimed is not None:
        run_claimed(*claimed, inline=inline)


def run_claimed(row: JobPacket, lease: Lease, *, inline: bool) -> None:
    """Run an attempt that has its lease, to its settle."""
    failpoints.hit("after_claim")
    relay.tell(signals.job_started, row.id)
    buffer = Buffer(lease, flusher=None if inline else flushing.flusher())
    attempt = Attempt(row, lease, buffer)
    run = Run(attempt)
    if not inline:
        keeper().watch(lease, overdue=run.give_up)
    try:
        relay.hear(run.to_the_end())
    except StopJob as stopped:
        logger.info("job %s was left: %s", row.id, stopped)
    finally:
        keeper().forget(lease)
        buffer.close()


class Run:
    """One attempt of a job."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._row = attempt.row
        self._config = JobConfig()
        self._worker: BaseWorker = BaseWorker()
        self._job: RunningJob | None = None

    def to_the_end(self) -> Moved:
        """Work and settle; raises `StopJob` if the job is not ours any more."""
        try:
            if self._row.worker == lifecycle.WORKFLOW:
                return engine.begin_run(self._attempt)
            return self._work()
        except StopJob:
            raise
        except DatabaseError as error:
            links.refresh()
            if self._attempt.lease.ended is not None:
                raise LeaseLost(f"the database failed and the lease is gone: {error}") from error
            return self._failed(error)
        except Exception as error:  # the runner's edge: whatever a hook raises fails the attempt
            if ENDING in str(error):
                raise LeaseLost("this process is ending; another will take the job up") from error
            return self._failed(error)

    def _work(self) -> Moved:
        row, lease = self._row, self._attempt.lease
        self._worker = registry.worker(row.worker)()
        self._config = limits_of(self._worker.timeout, self._worker.retry_policy).updated(row.config)
        if self._config.timeout is not None:
            lease.deadline = time.monotonic() + self._config.timeout
            keeper().heed(lease)
        self._job = RunningJob(self._attempt, self._worker, heard=relay.hear)
        if row.lease_epoch > 1:  # not the first claim; a claim that was given back is no attempt
            self._job.ledger.recount()
        self._attempt.buffer.append(events.JobStarted(attempt=row.attempt), at_leisure=True)
        if row.phase == "run":
            return self._run(self._job)
        return self._finish(self._job)

    def _run(self, job: RunningJob) -> Moved:
        worker, lease = self._worker, self._attempt.lease
        if overrides(worker, "prepare"):
            job.inputs = job.ledger.run(
                "prepare", "prepare", None, lambda: _prepared(lease, worker, job), repeat="safe"
            )
        limit = conf.current().max_payload_bytes
        returned = fit(bridge.call_within(lease, worker.run, job), worker.output_class)
        result = ensure_json(returned, what=f"the result of {job.type}", limit=limit)
        children = bridge.call_within(lease, worker.route, job, result) if overrides(worker, "route") else ()
        failpoints.hit("after_record_before_settle")
        lease.check()
        if children or job.ledger.has_children():
            rows = [self._child(child, place) for place, child in enumerate(children)]
            return engine.wait_for_children(self._attempt, result, rows, join=worker.join)
        return engine.succeed(self._attempt, result, self._on_done(job, result, ()))

    def _child(self, child: Child, place: int) -> lifecycle.Values:
        return {**child_row(self._attempt, child, f"route:{place}"), "item": place}

    def _finish(self, job: RunningJob) -> Moved:
        """All children have ended: look at what they came to, and settle."""
        if (prepared := job.ledger.done("prepare", None)) is not None:
            job.inputs = prepared.output or {}
        if self._row.phase == "fail":
            raise _Recorded(self._row.error)
        order = (F("item").asc(nulls_first=True), "created_at")  # dispatched by run, then routed
        rows = JobPacket.objects.using(database.database()).filter(parent=self._row).order_by(*order)
        children = [
            ChildResult(id=row.id, type=row.type, status=row.status, result=row.result, error=row.error) for row in rows
        ]
        bad = [child for child in children if child.status != "succeeded"]
        if bad and self._worker.join == "all_succeeded":
            reason = (bad[0].error or {}).get("message", bad[0].status)
            raise ChildrenFailedError(
                f"{len(bad)} of {len(children)} children did not succeed; {bad[0].type}: {reason}"
            )
        return engine.succeed(self._attempt, self._row.result, self._on_done(job, self._row.result, children))

    def _on_done(self, job: RunningJob, result: Any, children: Sequence[ChildResult]) -> Callable[[], None] | None:
        if not overrides(self._worker, "on_done"):
            return None
        return lambda: bridge.call(self._worker.on_done, job, result, children)

    def _failed(self, error: Exception) -> Moved:
        decision = self._decision(error)
        if decision.action == "fail" and not isinstance(error, JobError):
            logger.warning("job %s (%s) failed", self._row.id, self._row.type, exc_info=error)
        if self._job is not None:
            self._attempt.has_children = self._job.ledger.has_children()
        return engine.fail(
            self._attempt,
            error,
            decision,
            max_retries=self._config.max_retries,
            on_failure=lambda: self._on_failure(error),
        )

    def _decision(self, error: Exception) -> RetryDecision:
        if isinstance(error, StepInDoubtError):
            return RetryDecision(action="suspend")
        if isinstance(error, _Recorded | ChildrenFailedError):
            return RetryDecision(action="fail")
        return self._config.decide(Failure.of(error), retries=self._row.retries, spread=jitter.between(0, 1))

    def _on_failure(self, error: Exception) -> None:
        if self._job is not None:
            tell_failure(self._job, self._worker, error)

    def give_up(self) -> None:
        """Fail an attempt whose code ignores its time limit; its thread will find the lease gone."""
        late = JobTimeoutError(
            f"attempt {self._row.attempt} passed its time limit and did not stop within {GRACE_SECONDS} s"
        )
        self._attempt.lease.end(late)
        with suppress(StopJob):  # it may just have settled by itself
            relay.hear(self._failed(late))


def _prepared(lease: Lease, worker: BaseWorker, job: RunningJob) -> StepOutcome:
    inputs: object = bridge.call_within(lease, worker.prepare, job)
    if not isinstance(inputs, Mapping):
        raise ConfigurationError(f"{type(worker).__name__}.prepare returned {type(inputs).__name__}, not a dict")
    return StepOutcome(dict(inputs))


class _Recorded(JobError):
    """The failure that was recorded before the children were cancelled."""

    def __init__(self, document: Any) -> None:
        super().__init__(document["message"])
        self.code = document["code"]
        self.recorded_type = document["type"]
