"""The jobs of `harvest.yaml`. Each tells the ledger what it does, and writes one row, which nothing makes unique."""

from __future__ import annotations

import os
import secrets
import time
from typing import Any

from django.db import transaction

from django_ais import registry
from django_ais.conformance import ledger
from django_ais.workers import BaseWorker
from tests.app.models import Effect

WORK_SECONDS = 0.02  # what a process is killed in


def tell(word: str, job: Any) -> None:
    """A line in the ledger, with the session of the process: a worker process and its children are one session."""
    ledger.here().write(word, job=job.id, session=os.getsid(0))


class Told(BaseWorker):
    """Tells when an attempt begins and when its work is over; its effect is a row, and a line once that is there."""

    def run(self, job: Any) -> Any:
        tell("attempt", job)
        said = self.work(job)
        time.sleep(WORK_SECONDS)
        tell("worked", job)
        return said

    def work(self, job: Any) -> Any:
        raise NotImplementedError

    def on_done(self, job: Any, result: Any, children: Any) -> None:
        Effect.objects.create(job_id=str(job.id), name=job.type)
        transaction.on_commit(lambda: tell("effect", job))


@registry.register("swap.pick")
class Pick(Told):
    """The list."""

    def work(self, job: Any) -> Any:
        return list(range(job.payload["items"]))


@registry.register("swap.item")
class Item(Told):
    """A word of its own for the item, drawn in a step."""

    def work(self, job: Any) -> Any:
        return [job.payload, job.step("draw", secrets.token_hex)]


@registry.register("swap.join")
class Join(Told):
    """What all items have said."""

    def work(self, job: Any) -> Any:
        return job.payload["said"]
