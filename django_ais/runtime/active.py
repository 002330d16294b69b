"""The job as a worker's hooks hold it: `workers.ActiveJob`, built around a row and its lease."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from django.db import transaction
from pydantic_core import to_jsonable_python

from django_ais import events, registry
from django_ais.events import Event
from django_ais.exceptions import AisError, ConfigurationError, InvalidPayloadError, JobError
from django_ais.gateways import BaseGateway
from django_ais.models import JobPacket
from django_ais.runtime import admission, bridge, database, lifecycle
from django_ais.runtime.engine import Attempt, Moved
from django_ais.runtime.journal import Buffer
from django_ais.runtime.steps import Ledger, Outcome
from django_ais.runtime.turns import Conversation
from django_ais.strategies import BaseStrategy, JobContext
from django_ais.workers import BaseWorker, Child, Repeat

logger = logging.getLogger("django_ais.runner")


class RunningJob:
    """An `ActiveJob`. Belongs to the thread that runs the attempt; only `emit` may be called from elsewhere."""

    def __init__(self, attempt: Attempt, worker: BaseWorker, *, heard: Callable[[Moved], None]) -> None:
        row = attempt.row
        self.id: UUID = row.id
        self.type: str = row.type
        self.payload: Any = row.payload
        self.tenant: str = row.tenant
        self.user_id: Any = row.user_id
        self.attempt: int = row.attempt
        self.root_id: UUID = row.root_id
        self.parent_id: UUID | None = row.parent_id
        self.inputs: dict[str, Any] = {}
        self.config = admission.own_config(type(worker), row.config)
        self.ledger = Ledger(attempt)
        self._attempt = attempt
        self._worker = worker
        self._heard = heard
        self._uses: Counter[str] = Counter()

    @property
    def context(self) -> JobContext:
        """The frozen snapshot that strategies see."""
        return JobContext(
            id=self.id,
            type=self.type,
            payload=self.payload,
            tenant=self.tenant,
            user_id=self.user_id,
            attempt=self.attempt,
            inputs=self.inputs,
            parent_id=self.parent_id,
        )

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should stop."""
        try:
            self._attempt.lease.check()
        except AisError:
            return True
        else:
            return False

    def emit(self, event: str | Event, /, **data: Any) -> None:
        """Say something; committed within moments, at the latest with the next step or the settle."""
        said = events.build(event, data) if isinstance(event, str) else event
        if not isinstance(said, Event):
            raise TypeError(f"emit takes an event type or an Event, not a {type(event).__name__}")
        if said.type in events.RUNTIME_TYPES:
            raise ValueError(f"event {said.type} is told by the runtime alone; an application's own is x.<app>.<name>")
        self._attempt.buffer.append(said)

    def progress(self, current: float | None = None, *, total: float | None = None, message: str | None = None) -> None:
        """Say how far the work is."""
        self.emit(events.JobProgress(current=current, total=total, message=message))

    def log(self, message: str, *, level: Literal["debug", "info", "warning", "error"] = "info", **fields: Any) -> None:
        """Say something for people."""
        self.emit(
            events.LogWritten(level=level, message=message, fields=to_jsonable_python(fields, fallback=repr) or None)
        )

    def step(
        self, name: str, function: Callable[..., Any], /, *args: Any, repeat: Repeat = "safe", **kwargs: Any
    ) -> Any:
        """Call the function once for this job; see `workers.ActiveJob.step`."""
        key = self._key(name)
        inputs = to_jsonable_python({"args": args, "kwargs": kwargs}, fallback=_kind_of)
        extra = {"call_key": f"{self.id}:{key}"} if repeat == "keyed" else {}

        def call() -> Outcome:
            output = bridge.call_within(self._attempt.lease, function, *args, **kwargs, **extra)
            try:
                return Outcome(to_jsonable_python(output))
            except ValueError as error:
                raise InvalidPayloadError(f"the output of step '{key}' is not JSON: {error}") from error

        return self.ledger.run(key, "step", inputs, call, repeat=repeat)

    def dispatch(
        self,
        type: str,
        payload: Any = None,
        *,
        key: str | None = None,
        worker: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        run_after: datetime | None = None,
        config: dict[str, Any] | None = None,
    ) -> UUID:
        """Create a child job now; see `workers.ActiveJob.dispatch`."""
        step_key = self._key(f"child:{key or type}")
        child = Child(type=type, payload=payload, worker=worker, queue=queue, priority=priority, config=config or {})
        row = child_row(self._attempt, child, step_key, run_after=run_after)
        child_id, moved = self.ledger.child(step_key, row, {"type": type, "payload": row["payload"]})
        self._heard(moved)
        return child_id

    def think(self, strategy: BaseStrategy | None = None, gateway: BaseGateway | None = None) -> Any:
        """Run a strategy against a gateway; see `workers.ActiveJob.think`."""
        if strategy is None:
            if self._worker.strategy_class is None:
                raise ConfigurationError(f"{_name(self._worker)} needs a strategy_class, or a run() of its own")
            strategy = self._worker.strategy_class()
        chosen = gateway or registry.gateway_of(self._worker.gateway_class, self._worker.gateway)
        return Conversation(self._attempt, self.ledger, strategy, chosen, name=self._key("turn")).run(self.context)

    def _key(self, name: str) -> str:
        """A step's key: its name; from the second use on with its position."""
        self._uses[name] += 1
        return name if self._uses[name] == 1 else f"{name}#{self._uses[name]}"


def _kind_of(value: Any) -> str:
    """What stands for an argument that is not JSON: its class. (A `repr` may hold an address, new on each attempt.)"""
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _name(worker: BaseWorker) -> str:
    return type(worker).__name__


def overrides(worker: BaseWorker, hook: str) -> bool:
    """Whether an application wrote this hook."""
    return getattr(type(worker), hook) is not getattr(BaseWorker, hook)


def tell_failure(job: RunningJob, worker: BaseWorker, error: Exception) -> None:
    """Call ``on_failure`` in a savepoint: a hook for failures cannot keep a job from failing."""
    if not overrides(worker, "on_failure"):
        return
    try:
        with transaction.atomic(using=database.database()):
            bridge.call(worker.on_failure, job, error)
    except Exception:
        logger.exception("on_failure of job %s failed", job.id)


def tell_failure_of(row: JobPacket, worker: BaseWorker, error: JobError) -> None:
    """`tell_failure` for a job that nobody owns; its values can be read, and it has nothing more to say."""
    try:
        lease = lifecycle.lease_of(row, expires=0.0)
        job = RunningJob(Attempt(row, lease, Buffer(lease, flusher=None)), worker, heard=lambda moved: None)
    except AisError:
        logger.exception("on_failure of job %s could not be called", row.id)
        return
    tell_failure(job, worker, error)


def child_row(attempt: Attempt, child: Child, key: str, *, run_after: datetime | None = None) -> lifecycle.Values:
    """The row of a child; its id follows from the parent and the key, so that a second attempt gets the same child."""
    row = admission.admitted(
        child.type,
        child.payload,
        id=uuid5(attempt.row.id, key),
        worker=child.worker,
        config=child.config,
        queue=attempt.row.queue if child.queue is None else child.queue,
        priority=attempt.row.priority if child.priority is None else child.priority,
        run_after=run_after,
        place=f"payload of child {child.type}",
    )
    return lifecycle.child_of(attempt.row, row)
