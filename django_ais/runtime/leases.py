"""The right to write a job, and the one thread that keeps it: heartbeats, lost leases, overdue attempts."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db import Error, connections

from django_ais import conf
from django_ais.exceptions import AisError, JobCancelled, JobTimeoutError, LeaseLost
from django_ais.runtime import database, links, sql

logger = logging.getLogger("django_ais.leases")

MOST_SECONDS_BETWEEN_BEATS = 5.0  # also how soon a job that emits nothing learns that it was cancelled
GRACE_SECONDS = 5.0  # how long code may ignore its time limit before the lease is given up over its head
INLINE_LEASE_SECONDS = 3600.0  # inside a caller's transaction no heartbeat could be seen


def new_owner() -> str:
    """A nonce for one claim."""
    return secrets.token_hex(16)


@dataclass(eq=False)
class Lease:
    """The time-limited right to write one job. ``expires`` and ``deadline`` are of this process's monotonic clock."""

    job_id: UUID
    root_id: UUID
    tenant: str
    epoch: int
    owner: str
    attempt: int
    expires: float
    deadline: float | None = None
    ended: AisError | None = None
    on_end: Callable[[], object] | None = None  # how to interrupt what the attempt is waiting for

    def check(self) -> None:
        """Raise what ended the lease: `LeaseLost`, `JobCancelled` or `JobTimeoutError`. Asked before every step and
        event.

        A lease that was not renewed in time is treated as lost before the database says so.
        """
        if self.ended is None:
            instant = time.monotonic()
            if instant >= self.expires:
                self.end(LeaseLost(f"the lease of job {self.job_id} was not renewed in time"))
            elif self.deadline is not None and instant >= self.deadline:
                self.end(JobTimeoutError(f"attempt {self.attempt} of job {self.job_id} passed its time limit"))
        if self.ended is not None:
            raise self.ended

    def end(self, error: AisError) -> None:
        """Stop the attempt at its next check; the first reason stays."""
        if self.ended is None:
            self.ended = error
            if (interrupt := self.on_end) is not None:
                interrupt()

    def end_by(self, fence: tuple[int, str, str] | None) -> None:
        """Stop the attempt because the row says otherwise: (epoch, owner, status), or no row at all."""
        if fence is not None and fence[2] == "cancelled":
            self.end(JobCancelled(f"job {self.job_id} was cancelled"))
        elif fence is None or fence != (self.epoch, self.owner, "running"):
            self.end(LeaseLost(f"job {self.job_id} belongs to somebody else now"))

    @property
    def seconds_left(self) -> float | None:
        """Until the attempt's time limit; None without one."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)


class Keeper:
    """Renews all leases of this process: one thread, its own connection, one statement a beat."""

    def __init__(self) -> None:
        self._leases: dict[UUID, tuple[Lease, Callable[[], None]]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_idle = False
        self._beat_at = 0.0

    def watch(self, lease: Lease, *, overdue: Callable[[], None]) -> None:
        """Keep a lease; ``overdue`` is called when its attempt ignores the time limit for too long."""
        with self._changed:
            self._leases[lease.job_id] = (lease, overdue)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="ais-keeper", daemon=True)
                self._thread.start()
            if self._is_idle:  # else it wakes by itself: waking it for every short job costs as much as one
                self._changed.notify_all()

    def stop(self) -> None:
        """Keep nothing any more: end the thread and close its connection. The next `watch` begins anew."""
        with self._changed:
            self._leases.clear()
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def heed(self, lease: Lease) -> None:
        """A kept lease has got a time limit: wake up for it in time."""
        with self._changed:
            if lease.deadline is not None and lease.deadline + GRACE_SECONDS < self._beat_at:
                self._changed.notify_all()

    def forget(self, lease: Lease) -> None:
        """Keep a lease no longer; it runs out by itself unless it is given back."""
        with self._changed:
            if (known := self._leases.get(lease.job_id)) and known[0] is lease:
                del self._leases[lease.job_id]

    def held(self) -> list[Lease]:
        """The leases of this process."""
        with self._changed:
            return [lease for lease, _ in self._leases.values()]

    def _run(self) -> None:
        links.dedicated_connection()
        try:
            while self._await_turn():
                self.beat()
                self._give_up_overdue()
        finally:
            connections.close_all()

    def _await_turn(self) -> bool:
        """Wait until it is time to renew or to give something up; False when it is time to stop.

        A new lease needs no beat of its own: a short job would be one more writing transaction.
        """
        with self._changed:
            self._is_idle = True
            self._changed.wait_for(lambda: self._leases or not self._is_wanted())
            self._is_idle = False
            self._beat_at = time.monotonic() + min(conf.current().lease_seconds / 3, MOST_SECONDS_BETWEEN_BEATS)
            while self._is_wanted() and (pause := min(self._beat_at, self._nearest_limit()) - time.monotonic()) > 0:
                self._changed.wait(pause)
            return self._is_wanted()

    def _is_wanted(self) -> bool:
        """Whether the thread that asks is still the one; `stop` and a later start make it another's."""
        return self._thread is threading.current_thread()

    def _nearest_limit(self) -> float:
        limits = [lease.deadline for lease, _ in self._leases.values() if lease.deadline is not None]
        return min(limits, default=float("inf")) + GRACE_SECONDS

    def beat(self) -> None:
        """Renew every lease that is still wanted; survive the database's absence until the leases run out."""
        leases = {lease.job_id: lease for lease in self.held() if lease.ended is None}
        if not leases:
            return
        seconds = conf.current().lease_seconds
        instant = time.monotonic()
        try:
            ids = sorted(leases)
            owners = [leases[job_id].owner for job_id in ids]
            renewed = database.transact(lambda: sql.renew(ids, owners, seconds))
            for job_id in renewed:
                leases[job_id].expires = instant + seconds
            if missing := [job_id for job_id in ids if job_id not in renewed]:
                found = sql.fences(missing)
                for job_id in missing:
                    leases[job_id].end_by(found.get(job_id))
        except Error:
            logger.warning("leases could not be renewed; trying again", exc_info=True)
            connections.close_all()

    def _give_up_overdue(self) -> None:
        instant = time.monotonic()
        with self._changed:
            late = [
                (lease, overdue)
                for lease, overdue in self._leases.values()
                if lease.deadline is not None and instant >= lease.deadline + GRACE_SECONDS
            ]
        for lease, overdue in late:
            self.forget(lease)
            # In a thread of its own: it waits for whatever the attempt's code holds, and the other leases do not.
            threading.Thread(target=_call, args=(overdue,), name="ais-overdue", daemon=True).start()


def _call(overdue: Callable[[], None]) -> None:
    try:
        overdue()
    except Exception:
        logger.exception("an overdue attempt could not be given up; its lease will run out")
    finally:
        connections.close_all()


_keepers: dict[int, Keeper] = {}


def keeper() -> Keeper:
    """This process's keeper; a forked child gets its own."""
    return _keepers.setdefault(os.getpid(), Keeper())
