"""A Celery worker process as the core wants it: the task, and how processes that run it begin and stop.

With prefork the parent process only hands messages out. Each child sweeps, renews leases and drains by itself; it hears
of the end through a pipe that the parent closes, or that closes because the parent is gone.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from django_ais.backends.queue.celery_app import OWN
from django_ais.drivers import load
from django_ais.queues import Disposition, Outcome, retry_in

if TYPE_CHECKING:
    from django_ais.backends.queue.celery import CeleryQueue

logger = logging.getLogger("django_ais.queues")

TASK = "django_ais.run_job"
BROKEN_SECONDS = 10.0  # come again: the handler itself is broken, a deploy perhaps
SLOT_SECONDS = 0.5  # a message that must come again costs its slot so much: two a second at most
GREEN = ("gevent", "eventlet")
LAST_SECONDS = 1.0
LATE_SECONDS = 10.0  # beyond the drain's time, for Celery to end by itself
A_DAY = 86_400  # instead of a limit that the project sets for all of its tasks


def register(queue: CeleryQueue) -> None:
    """Register the task with the queue's app, once, and hear of this process's life as a worker process."""
    from celery.exceptions import Reject

    def run_job(task: Any, job_id: str) -> None:
        with hands.noticing_sigterm():
            outcome = _handled(queue, job_id)
        if outcome.disposition is Disposition.RETRY:
            _again(queue, task, job_id, outcome.delay)
        elif outcome.disposition is Disposition.REJECT:
            raise Reject("refused by the handler", requeue=False)

    if not hands.attach(queue):
        return
    queue.app.task(
        name=TASK,
        bind=True,
        shared=False,
        typing=False,
        acks_late=True,
        acks_on_failure_or_timeout=False,
        reject_on_worker_lost=True,
        ignore_result=True,
        track_started=False,
        max_retries=None,
        rate_limit=None,
        serializer="json",
    )(run_job)


def _handled(queue: CeleryQueue, job_id: str) -> Outcome:
    try:
        return queue.handler(job_id)
    except Exception:  # it never raises by contract; a message is not acknowledged for what we do not understand
        logger.exception("job %s could not be handed over", job_id)
        return retry_in(BROKEN_SECONDS)


def _again(queue: CeleryQueue, task: Any, job_id: str, delay: float) -> None:
    """The same message again, not before ``delay`` seconds. It is acknowledged only once its successor was taken."""
    from celery.exceptions import Reject

    pause = min(delay, SLOT_SECONDS)
    sleep(pause)
    try:
        queue.send_again(job_id, task.request.delivery_info or {}, delay=max(delay - pause, 0.0))
    except Exception as error:
        logger.warning("job %s could not be put off, so its message goes back: %s", job_id, error)
        raise Reject(str(error), requeue=True) from error


class Hands:
    """This process, while it is a Celery worker process or a child of one, and consumes a queue of ours."""

    def __init__(self) -> None:
        self._queues: dict[str, CeleryQueue] = {}
        self._apps: WeakSet[Any] = WeakSet()
        self._worker: Any = None
        self._host: Any = None
        self._end: tuple[int, int] | None = None  # a pipe: readable when the worker process stops
        self._bell: tuple[int, int] | None = None  # a pipe: rung when this child gets SIGTERM
        self._stops = 0

    def attach(self, queue: CeleryQueue) -> bool:
        """Hear Celery's signals; say whether the queue's app is new here.

        The signals are the whole process's, so those of worker processes for other queues are ignored.
        """
        from celery import signals

        self._queues[queue.alias] = queue
        for name in ("worker_init", "worker_process_init", "worker_shutting_down", "worker_process_shutdown"):
            getattr(signals, name).connect(getattr(self, f"_{name}"), weak=False, dispatch_uid=f"django_ais.{name}")
        if queue.app in self._apps:
            return False
        self._apps.add(queue.app)
        return True

    def _worker_init(self, sender: Any, **_: Any) -> None:
        """The worker process begins: refuse what cannot run jobs; begin here, or leave that to the children."""
        ours = [
            queue
            for queue in self._queues.values()
            if queue.queue_name in sender.app.amqp.queues.consume_from and TASK in sender.app.tasks
        ]
        if not ours:
            return
        pool = _pool_of(sender)
        if pool in GREEN:
            _refuse(f"queue '{ours[0].alias}' cannot be consumed with -P {pool}: database calls beside an event loop "
                    "fail there. Start the worker process with -P prefork or -P threads.")  # fmt: skip
        _require_handler(ours[0])
        _lift_limits(sender)
        self._worker, self._host, self._end = sender, ours[0].host, os.pipe()
        if pool == "prefork":
            _close_database()
        else:
            self._begin()

    def _worker_process_init(self, **_: Any) -> None:
        """A child begins. One that was spawned has inherited nothing, so it cannot know whose it is."""
        if self._end is not None:
            os.close(self._end[1])
            self._bell = os.pipe()
            _close_database()
            self._begin()
        elif os.environ.get("FORKED_BY_MULTIPROCESSING") and self._queues:
            self._host = next(iter(self._queues.values())).host
            self._begin()

    def _begin(self) -> None:
        from django_ais.exceptions import ConfigurationError

        if self._host is None:
            return
        try:
            self._host.start()
        except ConfigurationError as error:
            _refuse(str(error))
        if self._end is not None:
            threading.Thread(target=self._await_end, name="ais-drain", daemon=True).start()

    def _await_end(self) -> None:
        """Drain when the worker process stops, or this child is told to; leave where nobody else sees to that."""
        pipes = [pipe[0] for pipe in (self._end, self._bell) if pipe is not None]
        readable, _, _ = select.select(pipes, [], [])
        is_alone = self._end is not None and self._end[0] not in readable
        try:
            handed_back = self._host.drain()
        except Exception:
            logger.exception("this process could not hand its jobs back; their leases run out")
            handed_back = -1
        if handed_back:
            logger.warning("stopping; %s handed back", f"{handed_back} jobs" if handed_back > 0 else "nothing could be")
            _leave(0)
        if is_alone:
            sleep(LAST_SECONDS)  # for the answer of the job that just ended, which nobody tells us of
            _leave(0)

    def _worker_shutting_down(self, sig: str = "SIGTERM", how: str = "Warm", **_: Any) -> None:
        """A signal handler: tell everybody; at the second signal leave at once."""
        if self._end is None:
            return
        self._stops += 1
        if self._stops == 1:
            os.close(self._end[1])
            if self._worker.app.main == OWN:  # in a project's app other tasks may take as long as they do
                threading.Thread(target=self._bound, name="ais-bound", daemon=True).start()
            return
        self._leave_at_once(128 + getattr(signal, sig, signal.SIGTERM))

    def _bound(self) -> None:
        """Nothing that Celery still waits for may keep a stopping worker process for ever."""
        sleep(load("django_ais.conf.current")().drain_seconds + LATE_SECONDS)
        self._leave_at_once(1)

    def _leave_at_once(self, code: int) -> None:
        for pid in _children_of(self._worker):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.write(2, b"django_ais: stopped at once; what ran is taken up when its leases have run out.\n")
        os._exit(code)

    def _worker_process_shutdown(self, **_: Any) -> None:
        """A child ends, because it is old or the worker process stops: it runs no job any more."""
        if self._host is not None:
            with suppress(Exception):  # nothing is lost by a lease that runs out
                self._host.drain(0)

    @contextmanager
    def noticing_sigterm(self) -> Iterator[None]:
        """Let SIGTERM drain this child while it runs a job; Celery's own handler would end it within the job."""
        if self._bell is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        ringing = self._bell[1]
        before = signal.signal(signal.SIGTERM, lambda *_: _ring(ringing))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


hands = Hands()


def _ring(pipe: int) -> None:
    os.write(pipe, b".")


def _pool_of(worker: Any) -> str:
    """prefork, threads, solo, gevent, eventlet, or a module's name."""
    pool = worker.pool_cls
    path = pool if isinstance(pool, str) else pool.__module__
    name = path.partition(":")[0].rpartition(".")[2]
    return {"processes": "prefork", "thread": "threads"}.get(name, name)


def _require_handler(queue: CeleryQueue) -> None:
    try:
        assert callable(queue.handler)  # noqa: S101 - importing it is what is asked
    except Exception as error:
        logger.exception("the handler of queue '%s' cannot be imported", queue.alias)
        _refuse(f"queue '{queue.alias}' cannot be consumed: its handler cannot be imported: {error}")


def _lift_limits(worker: Any) -> None:
    """No time limit for our task: where the project has one for all tasks, a long one takes its place."""
    task = worker.app.tasks[TASK]
    task.time_limit = A_DAY if getattr(worker, "time_limit", None) else None
    task.soft_time_limit = A_DAY if getattr(worker, "soft_time_limit", None) else None


def _close_database() -> None:
    """Connections do not survive a fork. The parent needs none any more; a child opens its own."""
    from django.db import connections

    connections.close_all()


def _children_of(worker: Any) -> list[int]:
    try:
        return [process.pid for process in worker.pool._pool._pool]
    except AttributeError:  # threads, or the pool has not begun
        return []


def _refuse(reason: str) -> None:
    """End this process. Celery logs what a receiver raises and goes on, unless it is this."""
    raise SystemExit(f"django_ais: {reason}")


def _leave(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
