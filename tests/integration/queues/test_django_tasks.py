"""Django's Tasks framework with django-tasks-db and its own `db_worker` processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_ais import jobs
from django_ais.models import JobPacket
from tests.app.models import Effect
from tests.harness.waiting import until
from tests.integration.commands.processes import ROOT, CommandProcess, Gate

pytest.importorskip("django_tasks_db.compat")
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database("postgres")]

SETTINGS_MODULE = "tests.integration.queues.django_tasks_settings"
OURS = {
    "QUEUES": {"default": {"BACKEND": "django_tasks", "OPTIONS": {"queue": "agents"}}},
    "BUSES": {"default": "database"},
    "GATEWAYS": {"default": "scripted"},
    "SWEEP_SECONDS": 0.3,
    "LEASE_SECONDS": 2,
}
WORKER = ("db_worker", "--queue-name", "agents", "--interval", "0.1", "--no-startup-delay")
TABLE = "django_tasks_database_dbtaskresult"
WAIT = 30.0  # seconds; a loaded machine needs long to start a process


@pytest.fixture
def gate(tmp_path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def site(verb: str, *arguments: str, **settings: Any) -> Any:
    """What a web process of the site does."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.queues.django_tasks_site", verb, *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS_MODULE, "AIS_TEST_SETTINGS": json.dumps(OURS | settings)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{verb} failed:\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def tables() -> None:
    """The table of django-tasks-db, empty. This process does not have that app, so it reads the table by its name."""
    if TABLE not in connection.introspection.table_names():
        site("prepare")
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE}")


def tasks(column: str) -> list[Any]:
    """A column of all tasks."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {TABLE} ORDER BY {column}")
        return [row[0] for row in cursor.fetchall()]


def process(*command: str, **settings: Any) -> CommandProcess:
    return CommandProcess(*command, settings=OURS | settings, DJANGO_SETTINGS_MODULE=SETTINGS_MODULE)


def worker_of(crew: CommandProcess) -> int:
    """The only process that `ais_worker` watches."""
    (worker,) = Path(f"/proc/{crew.pid}/task/{crew.pid}/children").read_text().split()
    return int(worker)


def all_done(ids: list[str]) -> bool:
    return JobPacket.objects.filter(id__in=ids, status="succeeded").count() == len(ids)


@pytest.mark.full
def test_jobs_that_are_sent_twice_have_their_effect_once():
    """Given two tasks for each job, when two `db_worker` processes run them, then each job succeeds, its effect happens
    once, and every task is done.
    """
    made = site("dispatch_twice", "effect", json.dumps(list(range(10))))

    with process(*WORKER), process(*WORKER):
        until(lambda: all_done(made), what="all jobs")
        until(lambda: tasks("status") == ["SUCCESSFUL"] * 20, what="all tasks")

    assert Effect.objects.count() == len(set(Effect.objects.values_list("job_id", flat=True))) == 10
    assert set(tasks("queue_name")) == {"agents"}


def test_a_job_of_a_killed_process_is_taken_up_by_another(gate):
    """Given a running job, when its worker process is killed (its task stays as it is, for ever), then the sweep of
    another process finds the lease run out, and the job runs again.
    """
    (job,) = site("dispatch", "gated", json.dumps([gate.payload]))
    with process(*WORKER) as worker:
        gate.await_entered()
        worker.send(signal.SIGKILL)
        worker.end()
    (other,) = site("dispatch", "echo", "[1]")  # an idle process does not sweep before its first task

    with process(*WORKER):
        gate.await_entered()
        gate.open()
        done = jobs.wait(JobPacket.objects.get(id=job), timeout=WAIT)
        # The engine records its tasks after the jobs have settled.
        until(lambda: tasks("status") == ["RUNNING", "SUCCESSFUL", "SUCCESSFUL"], what="the two tasks", seconds=WAIT)

    assert (done.status, done.attempt) == ("succeeded", 2)
    assert jobs.get(JobPacket.objects.get(id=other)).status == "succeeded"


@pytest.mark.full
def test_a_job_whose_message_is_lost_is_announced_by_a_sweep():
    """Given jobs whose tasks were deleted, when one round of the sweep is done by hand, then they run."""
    made = site("dispatch", "echo", "[1, 2]", ANNOUNCE_AGAIN_SECONDS=0.1)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE}")
        assert cursor.rowcount == 2

    with process("ais_sweep") as sweep:
        code, said = sweep.end()
    with process(*WORKER):
        until(lambda: all_done(made), what="the jobs whose tasks were lost")

    assert code == 0, said


def test_a_due_time_and_a_priority_are_the_backends():
    """Given a backend that can hold tasks back, when a job is due later, then its task is sent now, with its priority,
    and the job runs when it is due.
    """
    job = site("dispatch_later", "echo", "2")
    priorities = tasks("priority")

    with process(*WORKER, SWEEP_SECONDS=60):
        until(lambda: all_done([job]), what="the job to be due and done")

    row = JobPacket.objects.get(id=job)
    assert priorities == [5]
    assert row.started_at is not None
    assert row.started_at >= row.run_after


def test_a_stopping_process_lets_its_job_end(gate):
    (job,) = site("dispatch", "gated", json.dumps([gate.payload]))
    with process(*WORKER) as worker:
        gate.await_entered()
        worker.send(signal.SIGTERM)
        worker.hear("shutting down gracefully")
        gate.open()
        code, said = worker.end()

    assert code == 0, said
    assert JobPacket.objects.get(id=job).status == "succeeded"


def test_our_own_command_watches_workers_that_sweep_from_their_beginning(gate):
    """Given `ais_worker`, when its worker is killed at a job, then another takes its place, which sweeps before its
    first task, and the job runs again.
    """
    (job,) = site("dispatch", "gated", json.dumps([gate.payload]))
    with process("ais_worker", "--concurrency", "1") as crew:
        gate.await_entered()
        os.kill(worker_of(crew), signal.SIGKILL)
        crew.hear("another takes its place")
        gate.await_entered()
        gate.open()
        done = jobs.wait(JobPacket.objects.get(id=job), timeout=WAIT)
        crew.send(signal.SIGTERM)
        code, said = crew.end()

    assert (done.status, done.attempt) == ("succeeded", 2)
    assert code == 0, said
    assert "stopped." in said


@pytest.mark.full
def test_our_own_command_hands_back_what_does_not_end(gate):
    """Given a running job, when `ais_worker` is stopped and the job does not end in time, then it is handed back, and
    no attempt is counted.
    """
    (job,) = site("dispatch", "gated", json.dumps([gate.payload]))
    with process("ais_worker", "--concurrency", "1", DRAIN_SECONDS=0.5, LEASE_SECONDS=60) as crew:
        gate.await_entered()
        crew.send(signal.SIGTERM)
        code, said = crew.end()

    row = JobPacket.objects.get(id=job)
    assert code == 0, said
    assert "1 jobs handed back" in said
    assert (row.status, row.attempt) == ("queued", 0)


@pytest.mark.full
def test_a_worker_ends_when_nobody_watches_it(gate):
    """Given a worker at its job, when the process that watches it is killed, then it ends after its job."""
    (job,) = site("dispatch", "gated", json.dumps([gate.payload]))
    with process("ais_worker", "--concurrency", "1") as crew:
        gate.await_entered()
        worker = worker_of(crew)
        crew.send(signal.SIGKILL)
        gate.open()
        until(lambda: not Path(f"/proc/{worker}").exists(), what="the worker to end", seconds=WAIT)

    assert JobPacket.objects.get(id=job).status == "succeeded"
