"""Workers of the behaviour tests: made on the spot by `worker_of`, or the few words that workflow files are written in.

Jobs run in threads of the test's process, so what a hook says with `note` is in `notes` for the test to read.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import models
from django.utils import timezone

from django_ais import registry
from django_ais.exceptions import LeaseLost
from django_ais.models import AgentEvent, JobPacket, JobStep, Workflow
from django_ais.retry import Backoff, RetryPolicy
from django_ais.runtime import catalog, relay
from django_ais.workers import BaseWorker
from django_ais.workflows import loader
from tests.app.models import Effect

notes: list[Any] = []
AT_ONCE = Backoff(kind="constant", first=0.0)
ONCE_MORE = RetryPolicy(max_retries=1, backoff=AT_ONCE)
_numbers = itertools.count(1)


def settings_of(queue: str = "immediate", bus: Any = "memory", **more: Any) -> dict[str, Any]:
    """A value of ``DJANGO_AIS``: jobs run inside of the dispatch unless another queue is named."""
    queues = {"default": {"BACKEND": queue, "OPTIONS": more.pop("OPTIONS", {})}}
    return {"QUEUES": queues, "BUSES": {"default": bus}, "GATEWAYS": {"default": "scripted"}, **more}


def note(what: Any) -> None:
    """Tell the test something."""
    notes.append(what)


def worker_of(run: Callable[..., Any] | None = None, /, **members: Any) -> str:
    """Register a worker with this ``run`` and these hooks and attributes; return its name. Hooks take no ``self``."""
    name = f"behaviour.{next(_numbers)}"
    if run is not None:
        members["run"] = run
    hooks = {
        key: staticmethod(value) if key in ("prepare", "run", "route", "on_done", "on_failure") else value
        for key, value in members.items()
    }
    registry.register(name, type(f"Worker{next(_numbers)}", (BaseWorker,), hooks))
    return name


def events(job: JobPacket | Any, *types: str) -> list[str]:
    """The types of a run's events in order; of these types alone, if any are given."""
    found = AgentEvent.objects.filter(root_id=getattr(job, "id", job)).order_by("seq").values_list("type", flat=True)
    return [type for type in found if not types or type in types]


def said(job: JobPacket, type: str) -> list[dict[str, Any]]:
    """The data of a run's events of one type, in order."""
    rows = AgentEvent.objects.filter(root_id=job.id, type=type).order_by("seq")
    return list(rows.values_list("data", flat=True))


def steps(job: JobPacket) -> dict[str, str]:
    """A job's steps and their statuses, in the order in which they were recorded."""
    return dict(JobStep.objects.filter(job=job).order_by("id").values_list("key", "status"))


def children(job: JobPacket) -> list[JobPacket]:
    """The children of a job, oldest first."""
    return list(JobPacket.objects.filter(parent=job).order_by("item", "created_at"))


def imported(text: str, *, tenant: str = "") -> Workflow:
    """Import a workflow file."""
    return catalog.store(loader.load(text).require(), source=text, tenant=tenant).workflow


def die(job: Any) -> None:
    """Inside of an attempt: leave it as a worker process leaves it that is killed, with everything as it was."""
    job._attempt.lease.end(LeaseLost("as if the worker process had died"))
    job._attempt.lease.check()


def bury(job: JobPacket) -> None:
    """The lease of a dead attempt has run out, and a sweep finds it; ours, and not one of the background."""
    relay.sweeper.stop()
    overwrite(job, lease_expires_at=timezone.now() - timedelta(seconds=1))
    relay.sweep()


def overwrite(job: JobPacket, **columns: Any) -> None:
    """Write columns that belong to the runtime."""
    models.QuerySet.update(JobPacket.objects.filter(id=job.id), **columns)


# -- the words of workflow files


class OutOfPaper(Exception):
    """An application's own error."""


class Gate:
    """Keeps jobs inside their ``run`` until the test opens it."""

    def __init__(self) -> None:
        self.reached = threading.Semaphore(0)
        self.opened = threading.Event()

    def stand(self) -> None:
        """In a job: say that it is here, and wait."""
        self.reached.release()
        if not self.opened.wait(20):
            raise OutOfPaper("the gate was never opened")

    def await_one(self) -> None:
        """In a test: wait for a job to stand here."""
        assert self.reached.acquire(timeout=20), "no job came to the gate"


@registry.register("give")
class Give(BaseWorker):
    """Its payload is its result."""

    def run(self, job: Any) -> Any:
        note(("give", job.payload))
        return job.payload


@registry.register("double")
class Double(BaseWorker):
    """Twice its payload."""

    def run(self, job: Any) -> Any:
        return job.payload * 2


@registry.register("fail")
class Fail(BaseWorker):
    """Always fails."""

    def run(self, job: Any) -> Any:
        note(("fail", job.payload))
        raise OutOfPaper(f"no paper for {job.payload}")


@registry.register("fail_if_odd")
class FailIfOdd(BaseWorker):
    """Fails on odd numbers, else gives them back."""

    def run(self, job: Any) -> Any:
        note(job.payload)
        if job.payload % 2:
            raise OutOfPaper(f"{job.payload} is odd")
        return job.payload


@registry.register("mend")
class Mend(BaseWorker):
    """Fails until somebody has written the effect ``mended``."""

    def run(self, job: Any) -> Any:
        note(("mend", job.payload))
        if not Effect.objects.filter(name="mended").exists():
            raise OutOfPaper("not mended")
        return "mended"
