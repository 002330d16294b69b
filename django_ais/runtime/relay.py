"""Rings the doorbell: announces ready rows to their queues, and sweeps for what no doorbell will tell.

Nothing here is needed for the truth of a row, only for its progress: a message may be lost, and the sweep announces it
again.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, close_old_connections, connections

from django_ais import conf, events, jitter, registry, signals
from django_ais.exceptions import AisError, JobError, JobTimeoutError, PartialEnqueueError, WorkerCrashed
from django_ais.models import JobPacket
from django_ais.queues import QueueMessage
from django_ais.runtime import database, failpoints, journal, lifecycle, overdue, sql, stopping
from django_ais.runtime.active import tell_failure_of
from django_ais.runtime.engine import Moved, announced
from django_ais.runtime.journal import Draft
from django_ais.states import JobStatus

logger = logging.getLogger("django_ais.relay")

UNTAKEN_SECONDS = 2.0  # between tries of a sweep to ring at an engine that is away
LOCK_SECONDS = 1.0  # a process that stands still inside its settle must not stall the sweep of all others' jobs

PARKED = {"retried": signals.job_retried, "suspended": signals.job_suspended}
ENDED = {
    JobStatus.SUCCEEDED: signals.job_succeeded,
    JobStatus.FAILED: signals.job_failed,
    JobStatus.CANCELLED: signals.job_cancelled,
}


def announce(jobs: Sequence[dict[str, Any]], *, again_in: float = 0.0) -> None:
    """Tell the queues of queued jobs, given by ``id``, ``queue``, ``priority`` and ``delay`` or ``run_after``.

    Never raises for a queue's failure: what it did not take is left to the sweep, ``again_in`` seconds from now.
    """
    failpoints.hit("after_commit_before_announce")
    by_queue: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in jobs:
        by_queue[job["queue"]].append(job)
    for alias, group in by_queue.items():
        _announce(alias, group, again_in)


def _announce(alias: str, jobs: Sequence[dict[str, Any]], again_in: float) -> None:
    try:
        queue = registry.queues[alias]
        messages = [
            message
            for message in (_message(alias, job, queue.supports_priority) for job in jobs)
            if message.run_after is None or queue.can_hold_until(message.run_after)
        ]
        if messages:
            queue.enqueue(messages, timeout=conf.current().enqueue_timeout_seconds)
    except PartialEnqueueError as error:
        logger.warning("queue '%s' took only a part of the messages: %s", alias, error)
        _announce_later([UUID(dispatch_id[:36]) for dispatch_id in error.failed], again_in)
    except AisError as error:
        logger.warning("queue '%s' took no message (%s); the sweep will announce %d jobs", alias, error, len(jobs))
        _announce_later([job["id"] for job in jobs], again_in)


def _message(alias: str, job: dict[str, Any], has_priority: bool) -> QueueMessage:
    due = job.get("run_after") if isinstance(job.get("run_after"), datetime) else None
    if job.get("delay"):
        due = database.moment() + database.seconds(job["delay"])
    return QueueMessage(
        job_id=str(job["id"]),
        dispatch_id=f"{job['id']}-{secrets.token_hex(6)}",
        queue_name=alias,
        priority=job["priority"] if has_priority else 0,
        run_after=due,
    )


def _announce_later(ids: Sequence[UUID], seconds: float) -> None:
    try:
        database.transact(lambda: overdue.put_off(ids, seconds) if seconds else overdue.announce_now(ids))
    except DatabaseError:
        logger.warning("could not mark %d jobs as unannounced; they are announced again later", len(ids), exc_info=True)


def hear(moved: Moved | None) -> None:
    """Act on what a committed transaction has changed: doorbells, recorded cascades, signals."""
    if moved is None:
        return
    if database.is_in_transaction():  # of a caller that runs jobs inline: nobody else can see the rows yet
        for job in moved.announce:
            database.after_commit(announce, job)
    elif moved.announce:
        announce(moved.announce)
    for parent in moved.cascade:
        hear(stopping.cancel_children(parent))
    for job in moved.announce:
        tell(signals.job_queued, job["id"])
    for job_id, how in moved.parked:
        tell(PARKED[how], job_id)
    for job_id, status in moved.ended:
        tell(ENDED[status], job_id)
        if signals.run_finished.has_listeners(JobPacket):
            row = JobPacket.objects.using(database.database()).filter(id=job_id, parent=None).first()
            if row is not None:
                signals.run_finished.send_robust(JobPacket, job=row)


def tell_queued(jobs: Sequence[dict[str, Any]]) -> None:
    """Announce new jobs, and tell whoever listens of them."""
    announce(jobs)
    for job in jobs:
        tell(signals.job_queued, job["id"])


def tell(signal: Any, job_id: UUID) -> None:
    """Send a signal about a job as it is now, if anybody listens."""
    if signal.has_listeners(JobPacket):
        row = JobPacket.objects.using(database.database()).filter(id=job_id).first()
        if row is not None:
            signal.send_robust(JobPacket, job=row)


def sweep() -> int:
    """One round: expired leases, passed time limits, recorded cascades, rows to announce. Returns how many it acted on.

    Survives the database's errors: each part is tried, and what failed is found again by the next round.
    """
    acted = 0
    for part in (_sweep_leases, _sweep_limits, sweep_cascades, _sweep_announcements):
        try:
            acted += part()
        except DatabaseError:
            logger.warning("%s failed; the next round tries again", part.__name__, exc_info=True)
            connections.close_all()
    failpoints.hit("in_sweep")
    return acted


def _each(rows: Iterable[Any], act: Callable[[Any], Moved | None]) -> int:
    done = 0
    for row in rows:
        try:
            moved = act(row)
        except DatabaseError:
            logger.warning("the sweep could not act on job %s", row.id, exc_info=True)
            continue
        hear(moved)
        done += moved is not None
    return done


def _sweep_leases() -> int:
    return _each(overdue.expired_leases(), _lost)


def _lost(row: JobPacket) -> Moved | None:
    """A job whose worker process is gone: queued again, or failed when that happened too often."""
    if row.deliveries >= conf.current().max_deliveries:
        crashed = WorkerCrashed(f"{row.deliveries} worker processes in a row died while they ran this job")
        return _fail(row, crashed)

    def work() -> Moved | None:
        values = {**lifecycle.again(0.0), "status": "queued", "lease_owner": "", "lease_expires_at": None}
        values["waiting_on"] = {"reason": "worker_lost"}
        if not sql.change(row.id, values, statuses=["running"], where=overdue.lease_expired(row.lease_epoch)):
            return None
        moved = Moved(announce=[announced(row)])
        lost = events.JobRetried(
            attempt=row.attempt, code="worker_lost", message="the worker process stopped answering", delay=0.0,
            retry=row.retries, max_retries=row.config.get("max_retries", 0),
        )  # fmt: skip
        journal.write(row.root_id, row.tenant, [Draft(row.id, lost)])
        return moved

    return database.transact(work)


def _sweep_limits() -> int:
    return _each(overdue.past_limits(), _too_late)


def _too_late(row: JobPacket) -> Moved | None:
    if row.status == JobStatus.QUEUED and row.start_by_at is not None and row.attempt == 0:
        error = JobTimeoutError("no worker process took the job in time", kind="queue")
    else:
        error = JobTimeoutError("the whole job took longer than its total_timeout", kind="job")
    return _fail(row, error)


def _fail(row: JobPacket, error: JobError) -> Moved | None:
    """Fail a job that is still as it was found."""

    def tell(job: JobPacket) -> None:
        if job.worker in registry.workers():
            tell_failure_of(job, registry.worker(job.worker)(), error)

    document = lifecycle.error_document(error)
    return stopping.end(row.id, JobStatus.FAILED, document, still=lambda job: _same(job, row), on_failure=tell)


def _same(job: JobPacket, row: JobPacket) -> bool:
    return job.status == row.status and job.lease_epoch == row.lease_epoch


def sweep_cascades() -> int:
    """Do what settles have recorded and nobody has done yet: cancel open children."""
    return _each(overdue.recorded_cascades(), lambda row: stopping.cancel_children(row.id))


def _sweep_announcements() -> int:
    rows = database.transact(lambda: overdue.take_unannounced(conf.current().announce_again_seconds))
    if rows:
        announce([announced(row) for row in rows], again_in=UNTAKEN_SECONDS)
    return len(rows)


class Sweeper:
    """Sweeps from a thread of this worker process, whenever it is the elected one."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._owner = secrets.token_hex(16)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._abstains = False

    def abstain(self) -> None:
        """Never sweep in this process and those that it forks: another one beside them does."""
        self._abstains = True

    def start(self) -> None:
        """Begin, if it has not begun and is not left to others."""
        if self._abstains:
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._stop,), name="ais-sweeper", daemon=True)
                self._thread.start()

    def stop(self, *, timeout: float | None = None) -> None:
        """Stop after the current round, waited for at most ``timeout`` seconds; the next `start` begins anew."""
        with self._lock:
            self._stop.set()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            pause = self._round()
            stop.wait(pause * jitter.between(0.9, 1.1))
        connections.close_all()

    def _round(self) -> float:
        """Sweep if elected; return the seconds until the next round."""
        seconds = conf.current().sweep_seconds
        try:
            close_old_connections()
            database.limit_lock_waits(LOCK_SECONDS)
            if database.transact(lambda: overdue.elect("sweep", self._owner, seconds * 3)):
                sweep()
                return min(seconds, max(overdue.next_announcement() or seconds, 0.05))
        except Exception:  # the sweep must outlive whatever one round met
            logger.warning("a sweep failed; the next round tries again", exc_info=True)
            connections.close_all()
        return seconds


sweeper = Sweeper()
