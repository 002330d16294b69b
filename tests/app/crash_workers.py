"""Jobs that are watched while their worker processes are killed, stopped and thawed.

Everything they do is told in the ledger: ``attempt`` when an attempt begins, ``recorded`` for each step that it finds
done, ``executed`` when a step's code runs, ``effect`` when an effect has been committed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_ais import registry
from django_ais.gateways import BaseGateway, Finished, GatewayContext, GatewayRequest, Yielded
from django_ais.models import AgentEvent, JobStep
from django_ais.retry import Backoff, RetryPolicy
from django_ais.runtime import failpoints
from django_ais.strategies import BaseStrategy, JobContext
from django_ais.workers import BaseWorker
from tests.app.models import Effect
from tests.harness import ledger
from tests.harness.waiting import until

DELTAS = 6
PAUSE = 0.03  # seconds between two deltas: a stream lasts for several flushes


def begin(job: Any) -> None:
    """Tell of an attempt, and of what earlier ones have left."""
    book = ledger.here()
    book.write("attempt", job=job.id, attempt=job.attempt)
    for step in JobStep.objects.filter(job=job.id, status="done"):
        book.write("recorded", job=job.id, key=step.key, output=digest(step.output))


def digest(output: Any) -> str:
    return hashlib.sha256(json.dumps(output, sort_keys=True).encode()).hexdigest()[:16]


def step(job: Any, name: str) -> str:
    """A step whose output is different each time it is executed."""

    def work() -> str:
        ledger.here().write("executed", job=job.id, key=name)
        stand(job.payload, name, job.id, job.attempt)
        return secrets.token_hex(4)

    return str(job.step(name, work))


def stand(payload: Any, place: str, job_id: Any, attempt: int) -> None:
    """Wait where the payload says so, in the first attempt, until somebody opens the gate (a named pipe)."""
    if payload.get("stand") == place and attempt == 1:
        ledger.here().write("stands", job=job_id, place=place)
        Path(payload["gate"]).read_bytes()
        ledger.here().write("goes on", job=job_id, place=place)


def affect(job: Any) -> None:
    """One effect: a row in this transaction, and a line once it has committed."""
    Effect.objects.create(job_id=str(job.id), name="done", created_by=str(os.getpid()))
    transaction.on_commit(lambda: ledger.here().write("effect", job=job.id))


class SlowVoice(BaseGateway):
    """Speaks some words, one after the other, different ones in each call."""

    async def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
        payload = json.loads(request.messages[-1].parts[0].text)  # type: ignore[union-attr]
        key = context.call_key.partition(":")[2]
        ledger.here().write("executed", job=context.job_id, key=key)
        for place in range(payload.get("deltas", DELTAS)):
            yield f"{secrets.token_hex(2)}-{place} "
            await asyncio.sleep(payload.get("pause", PAUSE))
            if place == 1:
                await asyncio.to_thread(stand, payload, key, context.job_id, context.attempt)
        yield Finished()


class Payload(BaseStrategy):
    """Sends the payload as it is."""

    def compose_context(self, job: JobContext) -> dict[str, Any]:
        return {"prompt": json.dumps(job.payload)}


class Watched(BaseWorker):
    """What these jobs have in common."""

    strategy_class = Payload
    gateway_class = SlowVoice
    retry_policy = RetryPolicy(max_retries=8, backoff=Backoff(kind="constant", first=0.1))

    def on_done(self, job: Any, result: Any, children: Any) -> None:
        affect(job)
        arm(job, "on_done")
        stand(job.payload, "on_done", job.id, job.attempt)


@registry.register("crash")
class Crashing(Watched):
    """Steps, streams, children. Arms the failpoint of its payload once a step and a delta are safe."""

    def run(self, job: Any) -> Any:
        begin(job)
        said = [step(job, "first"), job.think()]
        arm(job, "run")
        said += [job.think(), step(job, "second")]
        stand(job.payload, "children", job.id, job.attempt)
        for number in range(job.payload.get("children", 2)):
            job.dispatch("crash.child", {"number": number, "deltas": 3}, key=f"child-{number}")
        said.append(step(job, "third"))
        stand(job.payload, "end", job.id, job.attempt)
        return said


def arm(job: Any, place: str) -> None:
    """Arm the failpoint of the payload at the place it names (``run`` unless it says otherwise), once for each job."""
    if not job.payload.get("crash") or job.payload.get("arm", "run") != place:
        return
    if not ledger.here().lines("armed", job=str(job.id)):
        until(lambda: is_durable(job), what="a step and a delta to be durable")
        ledger.here().write("armed", job=job.id)
        failpoints.arm(job.payload["crash"])


def is_durable(job: Any) -> bool:
    """Whether a step and a delta of the job can be seen by others."""
    steps = JobStep.objects.filter(job=job.id, status="done")
    return steps.exists() and AgentEvent.objects.filter(job=job.id, type="message.delta").exists()


@registry.register("crash.child")
class CrashingChild(Watched):
    """A step and a stream."""

    def run(self, job: Any) -> Any:
        begin(job)
        return [step(job, "only"), job.think()]


@registry.register("poison")
class Poison(Watched):
    """Kills whoever runs it, and leaves a child behind that is never due."""

    def run(self, job: Any) -> Any:
        begin(job)
        job.dispatch("crash.child", key="never due", run_after=timezone.now() + timedelta(days=1))
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
