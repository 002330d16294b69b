"""The task that runs a job. Imported by the first enqueue, and by a worker process that finds its path in a message."""

from __future__ import annotations

from typing import Any

from django_ais.backends.queue.django_tasks.driver import DjangoTasksQueue
from django_ais.backends.queue.django_tasks.library import tasks_library
from django_ais.drivers import load
from django_ais.exceptions import ConfigurationError


def _any_place() -> dict[str, Any]:
    """A backend and a queue that exist: a task is checked when it is declared. Each message names its own."""
    backends = tasks_library().task_backends
    alias = "default" if "default" in backends.settings else next(iter(backends.settings))
    queues = sorted(backends[alias].queues)
    return {"backend": alias, "queue_name": queues[0] if queues and "default" not in queues else "default"}


@tasks_library().task(**_any_place())  # type: ignore[untyped-decorator]
def run_job(job_id: str, queue: str = "default") -> None:
    """Run a job. ``queue`` is the alias in QUEUES whose driver sent the message."""
    if queue not in DjangoTasksQueue.registered:
        load("django_ais.tasks.registry")  # as other engines do: each configured driver registers itself there
    driver = DjangoTasksQueue.registered.get(queue)
    if driver is None:
        raise ConfigurationError(f"a task names the queue '{queue}', which is no 'django_tasks' queue in QUEUES here")
    driver.run(job_id)
