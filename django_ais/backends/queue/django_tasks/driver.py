"""The driver for Django's Tasks framework."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from django_ais.backends.queue.django_tasks.library import tasks_library
from django_ais.drivers import load
from django_ais.exceptions import ConfigurationError, PartialEnqueueError
from django_ais.queues import BaseQueue, Disposition, QueueMessage

logger = logging.getLogger("django_ais.queues")

TASK = f"{__package__}.tasks.run_job"
DEEPEST = 10  # jobs inside of jobs, with the immediate backend; a chain of them would use up the stack
IMMEDIATE = (
    "django.tasks.backends.immediate.ImmediateBackend",
    "django_tasks.backends.immediate.ImmediateBackend",
)
DUMMY = ("django.tasks.backends.dummy.DummyBackend", "django_tasks.backends.dummy.DummyBackend")
WITH_WORKERS = "django_tasks_db"  # the package whose worker processes `ais_worker` starts
COMMANDS = {"django_tasks_rq": "manage.py rqworker {queue} --job-class django_tasks_rq.Job"}


class DjangoTasksOptions(BaseModel):
    """Which of Django's task backends, and which of its queues."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str = Field(default="default", description="An alias of the setting `TASKS`.")
    queue: str = Field(default="default", description="A queue of that backend, one of its `QUEUES`.")
    poll_seconds: float = Field(
        default=0.2, ge=0, description="django-tasks-db: how often an idle worker of `ais_worker` looks for tasks."
    )


class DjangoTasksQueue(BaseQueue):
    """Any backend of the setting ``TASKS``. What it can do is what that backend says it can."""

    options_class = DjangoTasksOptions

    error_map = {
        "django.tasks.exceptions.InvalidTask": "rejected",
        "django_tasks.exceptions.InvalidTaskError": "rejected",
    }

    registered: ClassVar[dict[str, DjangoTasksQueue]] = {}
    """The drivers of this process by alias, for the task."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._thread = threading.local()

    @property
    def supports_run_after(self) -> bool:  # type: ignore[override]
        """Can the engine hold a message back until a time?"""
        return bool(self._backend.supports_defer)

    @property
    def supports_priority(self) -> bool:  # type: ignore[override]
        """Does a higher priority overtake? A backend that runs a task at once takes any and has nothing to overtake."""
        return bool(self._backend.supports_priority)

    @property
    def supports_worker(self) -> bool:  # type: ignore[override]
        """Is there a worker process to start, ours or the engine's own? For django-tasks-db: ``db_worker``."""
        return self._package == WITH_WORKERS

    @property
    def is_embedded(self) -> bool:  # type: ignore[override]
        """Do jobs run in the process that dispatches them?"""
        return self._is_one_of(IMMEDIATE)

    @property
    def is_durable(self) -> bool:  # type: ignore[override]
        """Does a message survive a restart of the broker?"""
        return not self._is_one_of((*IMMEDIATE, *DUMMY))

    @property
    def _backend(self) -> Any:
        """The backend's own instance; the framework makes one for each thread."""
        from django.core.exceptions import ImproperlyConfigured

        library = tasks_library()
        try:
            return library.task_backends[self.options.backend]
        except ImproperlyConfigured as error:
            known = ", ".join(library.task_backends.settings)
            raise ConfigurationError(
                f"Queue '{self.alias}': OPTIONS['backend'] = {self.options.backend!r} is not to be had from the "
                f"setting TASKS ({error}). Known there: {known}."
            ) from error

    @property
    def _package(self) -> str:
        return type(self._backend).__module__.partition(".")[0]

    def _is_one_of(self, paths: Sequence[str]) -> bool:
        return any(f"{kind.__module__}.{kind.__qualname__}" in paths for kind in type(self._backend).__mro__)

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        self.register_task()
        if self.is_embedded:
            self._run_here(messages)
            return
        end = time.monotonic() + timeout
        accepted: list[str] = []
        for message in messages:
            try:
                if time.monotonic() > end:
                    raise TimeoutError(f"the task backend took {len(accepted)} messages in {timeout:g} s")
                self._send(message)
            except Exception as error:
                if not accepted:
                    raise
                failed = [one.dispatch_id for one in messages[len(accepted) :]]
                raise PartialEnqueueError(str(self.translate(error)), accepted=accepted, failed=failed) from error
            accepted.append(message.dispatch_id)

    def _send(self, message: QueueMessage) -> None:
        task = load(TASK).using(
            backend=self.options.backend,
            queue_name=self.options.queue,
            priority=message.priority,
            run_after=message.run_after,
        )
        task.enqueue(message.job_id, queue=self.alias)

    def _run_here(self, messages: Sequence[QueueMessage]) -> None:
        """Let the immediate backend run the jobs; what they dispatch too deep inside runs after the innermost."""
        levels: list[deque[QueueMessage]] = self._thread.__dict__.setdefault("levels", [])
        waiting = deque(messages)
        if len(levels) == DEEPEST:
            levels[-1].extend(waiting)
            return
        levels.append(waiting)
        try:
            while waiting:
                self._send(waiting.popleft())
        finally:
            levels.pop()

    def register_task(self) -> None:
        """Let the task find this driver."""
        self.registered[self.alias] = self

    def run(self, job_id: str) -> None:
        """What the task does in a worker process: begin to sweep there, run the job, ask again if it is to come again.

        A backend that cannot hold a task back is not asked again: it would give the task out at once, and again and
        again. The sweep announces the job.
        """
        if self.host is not None and not self.is_embedded:
            self.host.start()
        outcome = self.handler(job_id)
        if outcome.disposition is Disposition.RETRY and self.supports_run_after:
            self._ask_again(job_id, outcome.delay)

    def _ask_again(self, job_id: str, delay: float) -> None:
        from django.utils import timezone

        due = timezone.now() + timedelta(seconds=delay)
        try:
            self._send(QueueMessage(job_id=job_id, dispatch_id=f"{job_id}-again", run_after=due))
        except Exception:  # the task has done its part; the sweep announces the job
            logger.warning("job %s could not be asked for again; it waits for a sweep", job_id, exc_info=True)

    def worker_command(self, *, concurrency: int) -> list[str] | None:
        """One that watches as many ``db_worker`` processes; None for other backends."""
        if not self.supports_worker:
            return None
        module = "django_ais.contrib.django_tasks"
        return [sys.executable, "-m", module, "--queue", self.alias, "--concurrency", str(concurrency)]

    def worker_advice(self) -> str:
        """The command that starts a worker process of the backend."""
        if (command := COMMANDS.get(self._package)) is not None:
            return f"Start: {command.format(backend=self.options.backend, queue=self.options.queue)}"
        kind = type(self._backend)
        return f"Start the worker command of {kind.__module__}.{kind.__qualname__}, if it has one."

    def check(self) -> list[str]:
        """Sentences about a backend or a queue that is not there, or that never runs anything."""
        try:
            backend = self._backend
        except ConfigurationError as error:
            return [str(error)]
        found = []
        if backend.queues and self.options.queue not in backend.queues:
            found.append(
                f"Queue '{self.alias}': OPTIONS['queue'] = {self.options.queue!r} is none of the QUEUES of "
                f"TASKS[{self.options.backend!r}]: {', '.join(sorted(backend.queues))}."
            )
        if self._is_one_of(DUMMY):
            found.append(f"Queue '{self.alias}': TASKS[{self.options.backend!r}] keeps tasks and never runs one.")
        return found
