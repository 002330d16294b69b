"""The parts that `ais_worker` stops by, in this process: refusals, the drain, the loop that takes messages."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from django_ais import jobs, queues
from django_ais.models import JobStep
from django_ais.queues import PullQueue
from django_ais.runtime import lifecycle, relay, runner
from django_ais.runtime.host import host

HANDLER = f"{__name__}.hear"
heard: list[str] = []


def hear(job_id):
    heard.append(job_id)
    return queues.ACK


@pytest.fixture
def database_queue(settings):
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "database"}}


def claimed(job):
    """The lease of a job that this process has just taken."""
    taken = lifecycle.claim(job.id, alone=True)
    assert taken is not None
    return taken[1]


@pytest.mark.parametrize(
    ("name", "module", "question"),
    [("gevent", "gevent.monkey", "is_module_patched"), ("eventlet", "eventlet.patcher", "is_monkey_patched")],
)
def test_a_process_with_green_threads_is_refused(monkeypatch, name, module, question):
    """Given a process that a green-thread library has patched, when it would become a worker process, then it is told
    why not.
    """
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{question: lambda part: True}))

    with pytest.raises(CommandError, match=f"patched by {name}"):
        call_command("ais_worker")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--queue", "nonesuch"], "no alias 'nonesuch'"),
        (["--concurrency", "0"], "'0' is not a whole number from 1"),
        (["--drain-seconds", "soon"], "'soon' is not a number of seconds"),
        (["--print-command"], "has no command of its own"),
    ],
)
def test_what_cannot_be_done_is_told(arguments, message):
    """Given an argument that makes no sense, when the command is called, then its error says which and why."""
    with pytest.raises(CommandError, match=message):
        call_command("ais_worker", *arguments)


@pytest.mark.django_db
def test_a_queue_without_a_worker_process_is_refused(settings):
    """Given a driver that cannot start its engine's worker process, when it is asked to, then the error says so."""
    driver = "tests.integration.commands.drivers.WithoutWorker"
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": driver}}

    with pytest.raises(CommandError, match="starts no worker process of its own"):
        call_command("ais_worker")


@pytest.mark.django_db(transaction=True)
def test_a_draining_process_claims_nothing(database_queue):
    """Given a process that drains, when a message arrives, then it is neither run nor acknowledged."""
    job = jobs.dispatch("echo")
    host.drain(0)

    outcome = runner.handle(str(job.id))

    assert outcome.disposition is queues.Disposition.RETRY
    assert jobs.get(job).attempt == 0


@pytest.mark.django_db(transaction=True)
def test_a_job_given_back_keeps_what_its_steps_have_cost(database_queue):
    """Given a job that was handed back after a step that cost tokens, when it ends, then the tokens are counted."""
    job = jobs.dispatch("echo")
    lease = claimed(job)
    JobStep.objects.create(
        job=job, key="asked", kind="gateway", status="done", fingerprint="", input_tokens=7, created_at=job.created_at
    )
    lifecycle.release(lease)

    runner.handle(str(job.id))

    done = jobs.get(job)
    assert (done.status, done.attempt, done.input_tokens) == ("succeeded", 1, 7)


@pytest.mark.django_db(transaction=True)
def test_a_job_given_back_is_announced_by_the_next_sweep(database_queue):
    """Given a job that was handed back, when the next sweep comes, then it announces the job at once."""
    job = jobs.dispatch("echo")
    lease = claimed(job)
    lifecycle.release(lease)

    relay.sweep()

    assert jobs.get(job).announcements == 1


class Shaky(PullQueue):
    """Fails to give messages twice, then gives one."""

    def __init__(self, stop):
        super().__init__(handler=HANDLER)
        self._answers = iter([OSError("away"), OSError("still away"), [SimpleNamespace(job_id="one", ack=stop.set)]])

    def _reserve(self, *, limit, timeout):
        answer = next(self._answers, [])
        if isinstance(answer, OSError):
            raise answer
        return answer


def test_an_engine_that_is_away_for_a_moment_ends_no_worker_process(monkeypatch):
    """Given an engine that fails to give messages, when it is back, then its messages are handled."""
    monkeypatch.setattr(queues.pull, "PAUSE_SECONDS", 0.0)
    heard.clear()
    stop = threading.Event()

    code = Shaky(stop).run_worker(concurrency=1, stop=stop)

    assert (code, heard) == (0, ["one"])
