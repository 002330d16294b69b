"""A queue driver on the workbench: with a worker process, jobs to send, and a ledger to look at."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from django_ais.conformance.profile import QueueProfile
from django_ais.conformance.workbench import ALIAS, LEASE_SECONDS, DeafQueue, Workbench
from django_ais.conformance.worker import Worker
from django_ais.exceptions import QueueError
from django_ais.queues import BaseQueue, QueueMessage


class Bench(Workbench):
    """One queue driver. Jobs are real rows, and what handles them is the core's own handler behind a recorder."""

    SETTINGS = {
        "BUSES": {"default": "database"},
        "GATEWAYS": {"default": "scripted"},
        "LEASE_SECONDS": LEASE_SECONDS,  # the shortest that a busy machine keeps
        "SWEEP_SECONDS": 0.3,
        "DRAIN_SECONDS": 10,
        "MAX_DELIVERIES": 50,
        "ANNOUNCE_AGAIN_SECONDS": 3600,  # a message that the driver loses must not be healed by the sweep
    }
    profile: type[QueueProfile]

    @property
    def queue(self) -> BaseQueue:
        """The driver of this process, as the core uses it."""
        from django_ais import registry

        return registry.queues[ALIAS]

    def build(self, *ports: int) -> BaseQueue:
        """Another instance, on these ports where they are given."""
        from django_ais import registry

        options = self.filled(self.profile.options, *ports)
        paths = {"handler": registry.HANDLER, "host": registry.HOST, "source": registry.QUEUE_SOURCE}
        built: BaseQueue = self.driver(ALIAS, options, **paths)
        self._stack.callback(built.close)
        return built

    # Worker processes

    def hire(self, *, concurrency: int = 1, command: Sequence[str] | None = None) -> Worker:
        """Start a worker process, by the driver's own command or by `ais_worker`."""
        return super().hire(concurrency=concurrency, command=command or self.profile.worker_command)

    def employ(self) -> Worker | None:
        """See that a worker process is there; None where jobs run in the process that sends."""
        if self.queue.is_embedded:
            return None
        return next((worker for worker in self.workers if worker.is_alive), None) or self.hire()

    def fork(self, *job_ids: str) -> int:
        """Send three messages from a process that forks; return its exit code."""
        self.employ()
        command = [sys.executable, "-m", "django_ais.conformance.project.forking", *job_ids]
        done = subprocess.run(command, env=self.site.environment, capture_output=True, check=False, timeout=60)
        sys.stderr.write(done.stderr.decode(errors="replace"))
        return done.returncode

    # Jobs and messages

    def jobs(
        self,
        count: int = 1,
        answers: Sequence[str] = (),
        *,
        type: str = "conformance.note",
        payload: Any = None,
        priority: int = 0,
        run_after: datetime | None = None,
    ) -> list[str]:
        """Rows that no queue was told of, with what the handler is ordered to do with each delivery."""
        from django.db import transaction

        from django_ais import jobs, registry

        deaf = DeafQueue()
        with registry.queues.override(ALIAS, deaf), transaction.atomic():
            rows = jobs.dispatch_many(type, [payload] * count, priority=priority, run_after=run_after)
            ids = [str(row.id) for row in rows]
            for job_id in ids:
                self.order(job_id, answers)
        return ids

    def order(self, job_id: str, answers: Sequence[str]) -> None:
        """Tell the handler what to do with the deliveries of a job."""
        import json

        if answers:
            (self.site.orders / job_id).write_text(json.dumps(list(answers)))

    def light(self, count: int) -> list[str]:
        """Ids without rows, which the handler acknowledges at once; rows, where the driver brings nothing else."""
        return (
            self.jobs(count) if self.profile.rows_only else [f"00000000-{str(uuid.uuid4())[9:]}" for _ in range(count)]
        )

    def message(self, job_id: str, *, priority: int = 0, run_after: datetime | None = None) -> QueueMessage:
        """A message for a job, with a dispatch id of its own."""
        dispatch_id = f"{job_id}-{next(self._numbers)}"
        return QueueMessage(job_id=job_id, dispatch_id=dispatch_id, priority=priority, run_after=run_after)

    def send(self, messages: Sequence[QueueMessage], *, through: BaseQueue | None = None) -> None:
        """Enqueue, while a worker process is there. Raises AssertionError if the driver does not take them."""
        self.employ()
        try:
            (through or self.queue).enqueue(messages, timeout=5.0)
        except QueueError as error:
            raise AssertionError(f"the driver did not take the messages: {error}") from error

    def ring(
        self, count: int = 1, answers: Sequence[str] = (), *, priority: int = 0, run_after: datetime | None = None
    ) -> list[str]:
        """Make jobs and send a message for each."""
        ids = self.jobs(count, answers, priority=priority, run_after=run_after)
        self.send([self.message(job_id, priority=priority, run_after=run_after) for job_id in ids])
        return ids

    # What was seen

    def handed(self, job_id: str) -> list[float]:
        """When the handler was called for a job: seconds on the machine's monotonic clock."""
        return [line["time"] for line in self.ledger.lines("handed", job=job_id)]

    def await_handed(self, ids: Sequence[str], *, times: int = 1) -> None:
        """Wait until the handler was called for each of these, and returned."""

        def missing() -> list[str]:
            return [job_id for job_id in ids if len(self.answered(job_id)) < times]

        try:
            self.until(lambda: not missing(), what="messages")
        except AssertionError:
            raise AssertionError(
                f"{len(missing())} of {len(ids)} jobs did not reach the handler {times} times in {self.patience:g} s"
            ) from None

    def answered(self, job_id: str) -> list[dict[str, Any]]:
        """The ends of the handler's calls for a job."""
        return self.ledger.lines("returned", job=job_id) + self.ledger.lines("raised", job=job_id)

    def status(self, job_id: str) -> str:
        """What the row says."""
        from django_ais import jobs

        return str(jobs.get(job_id).status)

    # Means

    def gate(self) -> Gate:
        """A named pipe at which handlers stand until it is opened."""
        gate = Gate(self.site.folder / f"gate-{next(self._numbers)}")
        self._stack.callback(gate.close)
        return gate

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this lasts the only slot of the worker is taken, so that messages wait."""
        gate = self.gate()
        (job_id,) = self.ring(1, [gate.order, "run"])
        self.until(lambda: self.handed(job_id), what="a job to take the slot")
        try:
            yield
        finally:
            gate.open()


class Gate:
    """Where handlers stand. Held open, so that opening an end never blocks."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self.order = f"stand:{path}"
        self._pipe = os.open(path, os.O_RDWR)

    def open(self) -> None:
        """Let all through."""
        os.write(self._pipe, b"\n" * 64)

    def close(self) -> None:
        """Let all through and forget it."""
        self.open()
        os.close(self._pipe)


class Timed:
    """A call in a thread of its own: how long it took, and what came of it."""

    def __init__(self, call: Callable[[], object], *, limit: float) -> None:
        self.error: BaseException | None = None
        self.value: object = None
        started = time.monotonic()
        thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        thread.start()
        thread.join(limit)
        self.ended = not thread.is_alive()
        self.seconds = time.monotonic() - started

    def _run(self, call: Callable[[], object]) -> None:
        try:
            self.value = call()
        except BaseException as error:  # noqa: BLE001 - told to the test, which judges it
            self.error = error
