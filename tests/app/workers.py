"""Workers that the tests dispatch to, found as an application's are: by their module's name."""

from __future__ import annotations

from typing import Any

from django_ais import registry
from django_ais.workers import BaseWorker
from tests.app import (  # noqa: F401 (they register their own)
    behaviour_workers,
    bench_workers,
    crash_workers,
)
from tests.app.models import Effect


@registry.register("echo")
class Echo(BaseWorker):
    """Returns its payload."""

    def run(self, job: Any) -> Any:
        return job.payload


@registry.register("effect")
class WritesEffect(BaseWorker):
    """Writes one row when it is done."""

    def run(self, job: Any) -> Any:
        return {"said": job.payload}

    def on_done(self, job: Any, result: Any, children: Any) -> None:
        Effect.objects.create(job_id=str(job.id), name="done", created_by=job.type)


@registry.register("talks")
class Talks(BaseWorker):
    """Says three things and records one step."""

    def run(self, job: Any) -> Any:
        for number in range(3):
            job.log(f"word {number}")
        return job.step("once", str, "done")
