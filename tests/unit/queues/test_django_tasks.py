"""Django's Tasks framework as a queue, with backends that need no database: what it can do, refuses and warns of."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_ais.backends.queue.django_tasks import DjangoTasksQueue
from django_ais.backends.queue.django_tasks.library import tasks_library
from django_ais.exceptions import ConfigurationError, PartialEnqueueError, QueueError, UnsupportedFeature
from django_ais.queues import ACK, Outcome, QueueMessage, retry_in

LIBRARY = tasks_library()
BACKENDS = f"{LIBRARY.__name__}.backends"
dummy: Any = importlib.import_module(f"{BACKENDS}.dummy")
importlib.import_module(f"{LIBRARY.__name__}.signals")  # it forgets backends when settings change

HANDLER = f"{__name__}.handle"

heard: list[str] = []
answers: dict[str, Callable[[], Outcome]] = {}


def handle(job_id: str) -> Outcome:
    heard.append(job_id)
    return answers.get(job_id, lambda: ACK)()


class Remote(dummy.DummyBackend):  # type: ignore[misc]
    """Keeps tasks as an engine does, until somebody runs them; cannot hold one back."""

    supports_defer = False
    supports_priority = False


class Failing(dummy.DummyBackend):  # type: ignore[misc]
    """Takes two tasks and no more."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        if len(self.results) == 2:
            raise OSError("the broker is full")
        return super().enqueue(task, args, kwargs)


@pytest.fixture(autouse=True)
def backends(settings) -> Iterator[None]:
    settings.TASKS = {
        "default": {"BACKEND": f"{BACKENDS}.immediate.ImmediateBackend"},
        "dummy": {"BACKEND": f"{BACKENDS}.dummy.DummyBackend", "QUEUES": ["slow", "quick"]},
        "remote": {"BACKEND": f"{__name__}.Remote"},
        "failing": {"BACKEND": f"{__name__}.Failing"},
    }
    yield
    heard.clear()
    answers.clear()
    DjangoTasksQueue.registered.clear()


def queue_with(**options: Any) -> DjangoTasksQueue:
    return DjangoTasksQueue("default", options, handler=HANDLER)


def message(job_id: str, **more: Any) -> QueueMessage:
    return QueueMessage(job_id=job_id, dispatch_id=f"{job_id}-1", **more)


def kept(alias: str) -> list[Any]:
    """What a backend that runs nothing was given."""
    return list(LIBRARY.task_backends[alias].results)


def test_building_a_driver_imports_no_library():
    program = (
        "import sys; from django_ais.backends.queue.django_tasks import DjangoTasksQueue;"
        "DjangoTasksQueue('default', {}, handler='x.y'); sys.exit('" + LIBRARY.__name__ + "' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("backend", "flags"),
    [
        ("default", {"is_embedded": True, "supports_run_after": False, "supports_priority": True, "is_durable": False}),
        ("dummy", {"is_embedded": False, "supports_run_after": True, "supports_priority": True, "is_durable": False}),
        ("remote", {"is_embedded": False, "supports_run_after": False, "supports_priority": False}),
    ],
)
def test_it_can_do_what_its_backend_can(backend, flags):
    queue = queue_with(backend=backend, queue="quick" if backend == "dummy" else "default")

    assert {name: getattr(queue, name) for name in flags} == flags


# -- sending


def test_a_message_becomes_a_task_with_everything_that_the_backend_can():
    """Given a backend with priorities and due times, when a message has both, then its task has them, and the queue."""
    due = timezone.now() + timedelta(minutes=1)
    queue_with(backend="dummy", queue="slow").enqueue([message("one", priority=7, run_after=due)])

    (result,) = kept("dummy")
    assert (result.task.priority, result.task.run_after, result.task.queue_name) == (7, due, "slow")
    assert (result.args, result.kwargs) == (["one"], {"queue": "default"})
    assert heard == []


def test_the_task_is_found_at_its_path():
    """Given a task's path as a worker process reads it, when it is imported and called, then the handler runs."""
    from django.utils.module_loading import import_string

    queue_with(backend="dummy", queue="slow").enqueue([message("one")])
    (result,) = kept("dummy")
    task = import_string(result.task.module_path).using(backend="dummy", queue_name="slow")

    task.call(*result.args, **result.kwargs)

    assert heard == ["one"]


def test_what_the_backend_denies_is_refused_before_anything_is_sent():
    queue = queue_with(backend="remote")

    with pytest.raises(UnsupportedFeature, match="priority"):
        queue.enqueue([message("x", priority=1)])
    with pytest.raises(UnsupportedFeature, match="run_after"):
        queue.enqueue([message("x", run_after=timezone.now() + timedelta(hours=1))])

    assert kept("remote") == []


def test_a_batch_taken_in_part_names_what_was_taken():
    with pytest.raises(PartialEnqueueError, match="the broker is full") as caught:
        queue_with(backend="failing").enqueue([message(str(number)) for number in range(4)])

    assert caught.value.accepted == ("0-1", "1-1")
    assert caught.value.failed == ("2-1", "3-1")


def test_a_queue_that_the_backend_does_not_have_is_rejected():
    with pytest.raises(QueueError, match="not valid for backend") as caught:
        queue_with(backend="dummy", queue="nonesuch").enqueue([message("x")])

    assert caught.value.outcome == "rejected"


def test_a_backend_that_is_not_there_is_named_with_those_that_are():
    queue = queue_with(backend="nonesuch")

    with pytest.raises(ConfigurationError, match=r"'nonesuch'.*default, dummy, remote"):
        queue.enqueue([message("x")])


# -- answers


def test_a_retry_is_asked_for_again_after_its_delay():
    """Given a backend with due times, when a job is to come again, then another task is due then."""
    answers["busy"] = lambda: retry_in(60)
    queue = queue_with(backend="dummy", queue="slow")
    queue.register_task()
    begun = timezone.now()

    queue.run("busy")

    (again,) = kept("dummy")
    assert again.args == ["busy"]
    assert timedelta(seconds=59) < again.task.run_after - begun < timedelta(seconds=90)


def test_a_retry_that_cannot_be_held_back_is_left_to_the_sweep(caplog):
    """Given a backend without due times, when a job is to come again, then the backend is not even asked."""
    answers["busy"] = lambda: retry_in(60)
    queue = queue_with(backend="remote")

    queue.run("busy")

    assert kept("remote") == []
    assert caplog.records == []


def test_a_worker_process_begins_to_sweep_with_its_first_task():
    begun: list[str] = []

    class Watched(DjangoTasksQueue):
        @property
        def host(self) -> Any:
            return type("Host", (), {"start": lambda self: begun.append("start")})()

    Watched("default", {"backend": "remote"}, handler=HANDLER).run("one")

    assert (begun, heard) == (["start"], ["one"])


# -- the immediate backend


def test_the_immediate_backend_runs_a_job_inside_the_enqueue():
    queue_with().enqueue([message("one"), message("two")])

    assert heard == ["one", "two"]


def test_a_long_chain_of_jobs_does_not_use_up_the_stack():
    """Given jobs that each dispatch the next, when the first is sent, then all of them run."""
    queue = queue_with()

    def next_of(number: int) -> Outcome:
        if number < 3000:
            answers[str(number + 1)] = lambda: next_of(number + 1)
            queue.enqueue([message(str(number + 1))])
        return ACK

    answers["0"] = lambda: next_of(0)

    queue.enqueue([message("0")])

    assert len(heard) == 3001


# -- words


def test_no_worker_process_is_started_and_the_error_says_which_command_does():
    with pytest.raises(UnsupportedFeature, match=r"worker command of .*\.Remote"):
        queue_with(backend="remote").run_worker(concurrency=1, stop=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"backend": "dummy", "queue": "slow"}, ["never runs one"]),
        ({"queue": "other"}, ["none of the QUEUES"]),
        ({"backend": "nonesuch"}, ["is not to be had"]),
    ],
)
def test_checks_find_a_backend_or_queue_that_is_not_there(options, words):
    found = queue_with(**options).check()

    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))
