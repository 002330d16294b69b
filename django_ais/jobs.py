"""The public verbs: create jobs, start workflows, wait, cancel, retry, resume. Each has a twin for async code, named
``a...``.

Inside a transaction of the caller's, a job exists if and only if that transaction commits, and its queue is told only
then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async

from django_ais.exceptions import (
    DispatchError,
    IdempotencyConflictError,
    IllegalTransitionError,
    JobNotFoundError,
    WaitInTransactionError,
)
from django_ais.models import JobPacket
from django_ais.retry import JobConfig
from django_ais.runtime import admission, bridge, catalog, database, lifecycle, relay, sql, stopping, streams
from django_ais.runtime.database import Raw
from django_ais.runtime.lifecycle import Values
from django_ais.runtime.source import due_jobs
from django_ais.states import JobStatus
from django_ais.values import canonical
from django_ais.workflows.schemas import validate_inputs

P = ParamSpec("P")
R = TypeVar("R")


def dispatch(
    type: str,
    payload: Any = None,
    *,
    worker: str | None = None,
    tenant: str = "",
    user: Any = None,
    idempotency_key: str | None = None,
    queue: str = "default",
    priority: int = 0,
    run_after: datetime | None = None,
    config: Mapping[str, Any] | None = None,
) -> JobPacket:
    """Create a job of a type and announce it; return its row.

    ``payload`` is JSON or a Pydantic model, ``worker`` the registered name of who runs it (default: the type),
    ``run_after`` a time before which it does not run, ``priority`` -100..100 (higher first), ``config`` retry and time
    limits and the worker's own keys. The same ``idempotency_key`` for this tenant and type returns the job that exists;
    with another payload it raises `IdempotencyConflictError`.

    Raises `DispatchError` (a payload, option or name that cannot be accepted), `UnknownWorkerError` or
    `ConfigurationError`, before anything is written.
    """
    row = admission.admitted(
        type, payload, worker=worker, tenant=tenant, user=user, queue=queue, priority=priority, run_after=run_after,
        config={} if config is None else config, idempotency_key=idempotency_key,
    )  # fmt: skip
    return _create(row)


def dispatch_many(
    type: str,
    payloads: Sequence[Any],
    *,
    worker: str | None = None,
    tenant: str = "",
    user: Any = None,
    queue: str = "default",
    priority: int = 0,
    run_after: datetime | None = None,
    config: Mapping[str, Any] | None = None,
) -> list[JobPacket]:
    """Create a job for each payload, all or none: one INSERT for each table and 500 rows. As `dispatch` otherwise."""
    if isinstance(payloads, str | bytes | Mapping) or not isinstance(payloads, Iterable):
        raise DispatchError(f"payloads must be a list of payloads, not a {payloads.__class__.__name__}")
    rows = [
        admission.admitted(
            type, payload, worker=worker, tenant=tenant, user=user, queue=queue, priority=priority, run_after=run_after,
            config={} if config is None else config, idempotency_key=None, place=f"payloads[{place}]",
        )
        for place, payload in enumerate(payloads)
    ]  # fmt: skip

    def work() -> None:
        lifecycle.create_roots(rows)
        for row in rows:  # inside, so that the driver is called once for all of them
            database.after_commit(relay.tell_queued, row)

    _write(work)
    return [_instance(row) for row in rows]


def start(
    workflow: str,
    inputs: Any = None,
    *,
    version: str | None = None,
    tenant: str = "",
    user: Any = None,
    idempotency_key: str | None = None,
    queue: str = "default",
    priority: int = 0,
    run_after: datetime | None = None,
) -> JobPacket:
    """Start an imported workflow and return the run's root; the run keeps the version it started with.

    Raises `WorkflowNotFoundError`, or `WorkflowInputError` naming each input that does not fit.
    """
    admission.check_text(workflow=workflow, tenant=tenant, version=version or "")
    found = catalog.find(workflow, tenant=tenant, version=version)
    checked = validate_inputs(catalog.spec_of(found), {} if inputs is None else inputs)
    row = admission.admitted(
        found.name, checked, worker=lifecycle.WORKFLOW, tenant=tenant, user=user, queue=queue, priority=priority,
        run_after=run_after, config={"timeout": None}, idempotency_key=idempotency_key, place="inputs",
        workflow_id=found.id,
    )  # fmt: skip
    return _create(row)


def get(job: UUID | str | JobPacket) -> JobPacket:
    """The job as it is now. Raises `JobNotFoundError`."""
    try:
        return JobPacket.objects.using(database.database()).get(id=_id(job))
    except JobPacket.DoesNotExist:
        raise JobNotFoundError(f"no job {_id(job)}") from None


def wait(job: UUID | str | JobPacket, *, timeout: float | None = None) -> JobPacket:
    """Wait until a job is finished and return it. ``timeout`` in seconds; raises TimeoutError after it.

    Raises `WaitInTransactionError` inside a transaction, where the job could not even have been announced.
    """
    _refuse_transaction("jobs.wait")
    row = get(job)
    if not row.is_terminal:
        waiting = asyncio.run_coroutine_threadsafe(streams.until_ended(row.id, row.root_id), bridge.loop())
        try:
            waiting.result(timeout)
        except TimeoutError:
            waiting.cancel()
            raise TimeoutError(f"job {row.id} ({row.type}) is {get(row).status} after {timeout} s") from None
    return get(row)


async def await_(job: UUID | str | JobPacket, *, timeout: float | None = None) -> JobPacket:  # noqa: ASYNC109 (as wait)
    """`wait` for async code (``await`` itself is a word of the language)."""
    await sync_to_async(_refuse_transaction)("jobs.await_")
    row = await aget(job)
    if not row.is_terminal:
        try:
            async with asyncio.timeout(timeout):
                await streams.until_ended(row.id, row.root_id)
        except TimeoutError:
            raise TimeoutError(f"job {row.id} ({row.type}) is not finished after {timeout} s") from None
    return await aget(row)


def cancel(job: UUID | str | JobPacket, *, reason: str = "") -> None:
    """Cancel a job and everything below it; nothing happens to what is finished already.

    A running attempt stops at its next event, step or heartbeat; what it streamed so far is kept. Inside a transaction
    it happens on commit. Raises `JobNotFoundError`.
    """
    row = get(job)
    document = {"code": "cancelled", "message": reason or "cancelled by hand", "type": ""}
    database.after_commit(_cancel, (row.id, document))


def _cancel(batch: Sequence[tuple[UUID, Values]]) -> None:
    for job_id, document in batch:
        relay.hear(stopping.end(job_id, JobStatus.CANCELLED, document))


def retry(job: UUID | str | JobPacket, *, fresh: bool = False) -> JobPacket:
    """Run a finished run again, as a new one linked by ``retry_of``, and return its root.

    Recorded results are reused: steps that are done and workflow jobs that succeeded are not executed again; ``fresh``
    starts from nothing. Given a job inside a run, the whole run is meant. Raises `IllegalTransitionError` while it is
    open.
    """
    root = get(get(job).root_id)
    if not root.is_terminal:
        raise IllegalTransitionError(
            f"run {root.id} is {root.status}; jobs.retry is for finished runs (jobs.cancel it first)"
        )
    row = lifecycle.new_job(
        type=root.type,
        worker=root.worker,
        payload=root.payload,
        config={**root.config, "fresh": True} if fresh and root.workflow_id else root.config,
        limits=JobConfig().updated(root.config),
        tenant=root.tenant,
        user_id=root.user_id,
        queue=root.queue,
        priority=root.priority,
        workflow_id=root.workflow_id,
        retry_of_id=root.id,
    )

    def work() -> None:
        lifecycle.create_roots([row])
        if not fresh:
            sql.copy_steps(root.id, row["id"])

    _write(work)
    database.after_commit(relay.tell_queued, row)
    return _instance(row)


def resume(job: UUID | str | JobPacket) -> JobPacket:
    """Let a suspended job go on, with all its retries before it again.

    A step whose outcome a crash has hidden is tried again: look first at what it did. Raises `IllegalTransitionError`
    for a job that is not suspended or waits for its children.
    """
    row = get(job)
    reason = (row.waiting_on or {}).get("reason")
    if row.status != JobStatus.SUSPENDED or reason in ("children", "limit"):
        waits = f", waiting for {reason}" if row.status == JobStatus.SUSPENDED else ""
        raise IllegalTransitionError(
            f"job {row.id} is {row.status}{waits}; only a job parked for a person can be resumed"
        )
    moved = _write(lambda: lifecycle.resume(row, str(reason)))
    if moved is None:
        raise IllegalTransitionError(f"job {row.id} was resumed or ended by somebody else")
    database.after_commit(relay.tell_queued, moved)
    return get(row)


def _create(row: Values) -> JobPacket:
    if row["idempotency_key"] is None:
        lifecycle.create_root(row, wake_up=due_jobs.wake_up)
    elif not _write(lambda: lifecycle.create_once(row)):
        return _existing(row)
    database.after_commit(relay.tell_queued, row)
    return _instance(row)


def _existing(row: Values) -> JobPacket:
    key = {name: row[name] for name in ("tenant", "type", "idempotency_key")}
    found = JobPacket.objects.using(database.database()).get(**key)
    if canonical(found.payload) != canonical(row["payload"]):
        raise IdempotencyConflictError(
            f"idempotency key {row['idempotency_key']!r} belongs to job {found.id} of type {row['type']}, which has "
            "another payload; use a new key for new work"
        )
    return found


def _write(work: Callable[[], R]) -> R:
    """In the caller's transaction if there is one, else in one of our own."""
    return work() if database.is_in_transaction() else database.transact(work)


def _instance(row: Values) -> JobPacket:
    moment = database.moment()
    values = {**_blank(), **{name: moment if type(value) is Raw else value for name, value in row.items()}}
    return JobPacket.from_db(database.database(), list(values), list(values.values()))


@cache
def _blank() -> Values:
    """What the columns of a job are that its dispatch does not name."""
    return {field.attname: field.get_default() for field in JobPacket._meta.concrete_fields}


def _id(job: UUID | str | JobPacket) -> UUID:
    if isinstance(job, JobPacket):
        return job.id
    try:
        return job if isinstance(job, UUID) else UUID(job)
    except (ValueError, AttributeError, TypeError):
        raise JobNotFoundError(f"{job!r:.80} is no job id") from None


def _refuse_transaction(verb: str) -> None:
    if database.is_in_transaction():
        raise WaitInTransactionError(
            f"{verb} was called inside a transaction: a job created in it is not committed, so nobody can run it. "
            "Wait after the atomic block, or use django_ais.testing in tests."
        )


def _twin(verb: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    @wraps(verb)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        return await sync_to_async(verb)(*args, **kwargs)

    twin.__name__ = twin.__qualname__ = f"a{verb.__name__}"
    twin.__doc__ = f"`{verb.__name__}` for async code."
    return twin


adispatch = _twin(dispatch)
adispatch_many = _twin(dispatch_many)
astart = _twin(start)
aget = _twin(get)
acancel = _twin(cancel)
aretry = _twin(retry)
aresume = _twin(resume)
