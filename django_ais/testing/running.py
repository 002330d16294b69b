"""Run what is queued, here and now; crash on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_ais import conf, jobs
from django_ais.events import Event
from django_ais.models import JobPacket
from django_ais.runtime import database, flushing, overdue, relay, runner
from django_ais.runtime import lifecycle as life
from django_ais.runtime.journal import Buffer

MOST_ROUNDS = 10_000  # a workflow that never comes to rest is a mistake of its own


class Crash(BaseException):
    """The process "died" here. Not an Exception, so that nothing in between can handle it."""

    def __init__(self, message: str, buffer: Buffer) -> None:
        super().__init__(message)
        self._buffer = buffer

    def commit(self) -> None:
        """Write what was said until then. In the job's thread: a gateway speaks on the event loop's."""
        with self._buffer.writing:
            flushing.flush_together([self._buffer])


def drain() -> int:
    """Run every queued job of every queue, and those that follow, until none is left; return how many attempts ran.

    A retry's wait and a ``run_after`` count as over. What an attempt left behind by crashing is taken up again, as a
    worker process would after the lease.
    """
    attempts = 0
    for _ in range(MOST_ROUNDS):
        database.transact(overdue.make_due)
        relay.sweep_cascades()
        ran = sum(_run_due(alias) for alias in conf.current().queues)
        attempts += ran
        if not ran:
            return attempts
    raise RuntimeError(f"jobs are still queued after {MOST_ROUNDS} rounds; does a job dispatch itself again?")


def _run_due(alias: str) -> int:
    ran = 0
    while claimed := life.claim_due(alias, limit=1, alone=True, inline=True):
        ran += 1
        try:
            runner.run_claimed(*claimed[0], inline=True)
        except Crash as crash:
            crash.commit()
    return ran


def run_now(workflow: str, inputs: Any = None, **options: Any) -> JobPacket:
    """Start an imported workflow, run it to its end and return the root. Options as of `jobs.start`."""
    root = jobs.start(workflow, inputs, **options)
    drain()
    return jobs.get(root)


def run_job(type: str, payload: Any = None, **options: Any) -> JobPacket:
    """Dispatch a job, run it and all that follows to the end and return it. Options as of `jobs.dispatch`."""
    job = jobs.dispatch(type, payload, **options)
    drain()
    return jobs.get(job)


@contextmanager
def crash_after(event: str, *, occurrence: int = 1) -> Iterator[None]:
    """Let the attempt that says an event of this type "crash" right after it is committed, once.

    The block's `drain` takes the job up again, as the next worker process would::

        with crash_after("message.delta"):
            root = run_now("intake", {...})
    """
    left = [occurrence]
    append = Buffer.append

    def crashing(self: Buffer, said: Event, **kwargs: Any) -> None:
        append(self, said, **kwargs)
        if said.type == event:
            left[0] -= 1
            if left[0] == 0:
                raise Crash(f"crashed after {event}", self)

    Buffer.append = crashing  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Buffer.append = append  # type: ignore[method-assign]
