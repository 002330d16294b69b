"""The jobs of the suite, and the handler that stands before the core's in each of its processes."""

from __future__ import annotations

import os
import secrets
import signal
import time
from typing import Any

from django.db import connection, transaction

from django_ais import registry
from django_ais.conformance import ledger
from django_ais.conformance.project.handling import stand
from django_ais.retry import Backoff, RetryPolicy
from django_ais.workers import BaseWorker

registry.HANDLER = "django_ais.conformance.project.handling.handle"

EFFECTS = "ais_conformance_effect"  # a table without a unique constraint, so that a double can show


class Note(BaseWorker):
    """Done at once."""

    job_type = "conformance.note"

    def run(self, job: Any) -> Any:
        """Nothing but the payload."""
        return job.payload


class Work(BaseWorker):
    """Two steps and an effect; stands between them where the payload says so, in the first attempt."""

    job_type = "conformance.work"
    retry_policy = RetryPolicy(max_retries=8, backoff=Backoff(kind="constant", first=0.1))

    def run(self, job: Any) -> Any:
        """Work, and tell the ledger of it."""
        book = ledger.here()
        book.write("attempt", job=job.id, attempt=job.attempt)
        said = [self._step(job, "first")]
        gate = (job.payload or {}).get("gate")
        if gate and job.attempt == 1:
            book.write("stands", job=job.id)
            stand(gate)
            book.write("stale", job=job.id, attempt=job.attempt)
        return [*said, self._step(job, "second")]

    def _step(self, job: Any, name: str) -> str:
        def work() -> str:
            ledger.here().write("executed", job=job.id, key=name)
            time.sleep((job.payload or {}).get("pause", 0.02))
            return secrets.token_hex(4)

        return str(job.step(name, work))

    def on_done(self, job: Any, result: Any, children: Any) -> None:
        """One effect: a row in this transaction, and a line once it has committed."""
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {EFFECTS} (job) VALUES (%s)", [str(job.id)])  # noqa: S608 - our own name
        transaction.on_commit(lambda: ledger.here().write("effect", job=job.id))


class Poison(BaseWorker):
    """Kills whoever runs it."""

    job_type = "conformance.poison"

    def run(self, job: Any) -> Any:
        """SIGKILL."""
        ledger.here().write("attempt", job=job.id, attempt=job.attempt)
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


class Speak(BaseWorker):
    """Says a text of its own, piece by piece, at the pace that its payload names."""

    job_type = "conformance.speak"
    retry_policy = RetryPolicy(max_retries=8, backoff=Backoff(kind="constant", first=0.1))

    def run(self, job: Any) -> Any:
        """Speak, and tell the ledger of each attempt."""
        said = job.payload
        ledger.here().write("attempt", job=job.id, attempt=job.attempt)
        for place in range(said["pieces"]):
            text = f"{said['seed']}:{place} ä\U0001f600\u2028\r\n "
            job.emit("message.delta", message="m", text=text + "x" * said.get("length", 0))
            time.sleep(said["pause"])  # the pace of a model
        return said["pieces"]
