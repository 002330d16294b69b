"""Four worker processes at work while things happen to them: the process tier's means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any

from django_ais.conformance.bench import Bench, Gate
from django_ais.conformance.waiting import until
from django_ais.conformance.workbench import LEASE_SECONDS
from django_ais.conformance.worker import Worker

SIZE = 4
CONCURRENCY = 2
MAX_DELIVERIES = 4
RECOVERY_SECONDS = LEASE_SECONDS + 5.0  # from the death of a process until somebody else begins its job
SECONDS = 120.0  # for everything to heal on a busy machine
CHANGES = {"ANNOUNCE_AGAIN_SECONDS": 2.0, "MAX_DELIVERIES": MAX_DELIVERIES, "ENQUEUE_TIMEOUT_SECONDS": 1.0}


class Crew:
    """The worker processes of the bench, kept at their number."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        if bench.settings["MAX_DELIVERIES"] != MAX_DELIVERIES:  # the contract tier's processes go
            bench.dismiss()
            bench.configure(**CHANGES)
        self.keep()

    def keep(self) -> None:
        """Replace those that have died."""
        self.bench.workers[:] = [worker for worker in self.bench.workers if worker.is_alive]
        while len(self.bench.workers) < SIZE:
            self.bench.hire(concurrency=CONCURRENCY)

    def until(self, question: Callable[[], Any], *, what: str, seconds: float = SECONDS) -> None:
        """Wait for something while the number is kept."""

        def ask() -> Any:
            self.keep()
            return question()

        until(ask, what=what, seconds=seconds)

    def dispatch(self, count: int, payload: Any = None, *, type: str = "conformance.work") -> list[str]:
        """Jobs as an application dispatches them: the row, then the queue's driver."""
        from django_ais import jobs

        return [str(row.id) for row in jobs.dispatch_many(type, [payload or {}] * count)]

    def standing(self) -> tuple[str, Gate, Worker]:
        """A job that stands in the middle of its first attempt, its gate, and the process that has it."""
        gate = self.bench.gate()
        (job_id,) = self.dispatch(1, {"gate": gate.path})
        self.until(lambda: self.bench.ledger.lines("stands", job=job_id), what="a job to stand")
        return job_id, gate, self.owner(self.bench.ledger.lines("stands", job=job_id)[-1]["pid"])

    def owner(self, pid: int) -> Worker:
        """The worker process that a process belongs to."""
        found = next((worker for worker in self.bench.workers if worker.owns(pid)), None)
        if found is None:
            raise AssertionError(f"process {pid} ran a job and belongs to no worker process")
        return found

    def have_ended(self, ids: Sequence[str]) -> bool:
        """Whether none of these jobs is open any more."""
        from django_ais.models import JobPacket

        return not JobPacket.objects.open().filter(id__in=ids).exists()

    def freeze(self, worker: Worker) -> None:
        """SIGSTOP at a moment when it holds no transaction open, whose locks would stop everybody else."""

        def caught() -> bool:
            worker.freeze()
            if nobody_writes(worker):
                return True
            worker.thaw()
            return False

        until(caught, what="the process to be outside of transactions")

    def assert_healed(self, ids: Sequence[str], *, poisoned: Sequence[str] = ()) -> dict[str, int]:
        """Every invariant of these jobs; what may be counted besides."""
        from django_ais.conformance.invariants import assert_healed

        return assert_healed(self.bench.ledger, ids, poisoned=poisoned)

    def snapshot(self, job_id: str) -> list[Any]:
        """Every row of a job that a stale process could have written."""
        from django_ais.conformance.invariants import snapshot

        return snapshot(job_id)

    def recovery(self, job_id: str, since: float) -> float:
        """Seconds from a moment until the job's next attempt began."""
        later = [line["time"] for line in self.bench.ledger.lines("attempt", job=job_id) if line["time"] > since]
        if not later:
            raise AssertionError(f"job {job_id} was not begun again")
        return float(min(later) - since)


def nobody_writes(worker: Worker) -> bool:
    """Whether a stopped process has no transaction open."""
    from django.db import connection

    if connection.vendor == "postgresql":
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND xact_start IS NOT NULL"
        with connection.cursor() as cursor:
            cursor.execute(query, [worker.name])
            return bool(cursor.fetchone()[0] == 0)
    import sqlite3

    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0)) as own, suppress(sqlite3.Error):
        own.execute("BEGIN IMMEDIATE")
        own.execute("ROLLBACK")
        return True
    return False
