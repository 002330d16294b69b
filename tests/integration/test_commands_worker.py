"""`ais_worker` as a real process: it takes jobs, stops in order within its bound, and hands back what is left."""

from __future__ import annotations

import signal
import time

import pytest

from django_ais import jobs
from django_ais.models import JobPacket, JobStep
from tests.integration.commands import workers  # noqa: F401 (dispatching a type needs its worker)
from tests.integration.commands.processes import CommandProcess, Gate

pytestmark = [pytest.mark.one_database("sqlite"), pytest.mark.django_db(transaction=True)]

DRIVERS = "tests.integration.commands.drivers"
WAIT = 30.0  # seconds; a loaded machine needs long to start a process


@pytest.fixture
def ours(settings):
    """The settings that this test and its worker processes share: a queue that only worker processes consume."""
    settings.DJANGO_AIS = {
        "QUEUES": {"default": "database"},
        "BUSES": {"default": "database"},
        "GATEWAYS": {"default": "scripted"},
        "SWEEP_SECONDS": 0.2,
    }
    return settings.DJANGO_AIS


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def worker(ours, *arguments, **settings):
    """A worker process; ``settings`` are laid over the test's."""
    return CommandProcess("ais_worker", *arguments, settings={**ours, **settings})


def driven_by(driver):
    return {"QUEUES": {"default": driver}}


@pytest.mark.one_database("sqlite", "postgres")
def test_a_worker_process_takes_jobs_and_finishes_them(ours):
    """Given dispatched jobs, when a worker process starts, then it says what it serves and finishes all of them."""
    rows = jobs.dispatch_many("echo", [{"number": number} for number in range(5)])

    with worker(ours, "--concurrency", "2") as process:
        first = process.hear("ais_worker")
        done = [jobs.wait(row, timeout=WAIT) for row in rows]

    assert [row.result for row in done] == [{"number": number} for number in range(5)]
    assert "queue 'default' (database), concurrency 2, database 'default'" in first


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_worker_process_lets_its_job_end(ours, gate, number):
    """Given a running job, when the worker process is asked to stop, then it claims nothing more, waits for the job
    and exits with 0.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours, "--concurrency", "1") as process:
        gate.await_entered()
        process.send(number)
        process.hear("claiming nothing more")
        later = jobs.dispatch("echo")
        gate.open()
        code, said = process.end()

    assert code == 0, said
    assert "every job it took has ended" in said
    assert jobs.get(job).status == "succeeded"
    assert jobs.get(later).attempt == 0


def test_a_job_that_outlasts_the_drain_is_handed_back(ours, gate):
    """Given a job longer than the drain's bound, when its worker process is asked to stop, then the process exits with
    0 in time, the job loses no attempt, and another worker process finishes it without repeating its step.
    """
    job = jobs.dispatch("gated", gate.payload)
    with worker(ours, "--drain-seconds", "0.2") as process:
        gate.await_entered()
        process.send(signal.SIGTERM)
        process.hear("claiming nothing more")
        asked = time.monotonic()
        code, said = process.end()
        took = time.monotonic() - asked
    handed_back, word = jobs.get(job), JobStep.objects.get(job=job).output

    assert code == 0, said
    assert "1 job handed back" in said
    assert took < 5, f"it took {took:.1f} s to leave"
    assert (handed_back.status, handed_back.attempt, handed_back.deliveries) == ("queued", 0, 0)

    with worker(ours):
        gate.await_entered()
        gate.open()
        done = jobs.wait(job, timeout=WAIT)
    assert (done.status, done.attempt, done.result) == ("succeeded", 1, word)


def test_a_second_signal_stops_at_once(ours, gate):
    """Given a worker process that waits for its job, when it is asked a second time, then it leaves at once."""
    jobs.dispatch("gated", gate.payload)
    with worker(ours, "--drain-seconds", "600") as process:
        gate.await_entered()
        process.send(signal.SIGTERM)
        process.hear("claiming nothing more")
        asked = time.monotonic()
        process.send(signal.SIGTERM)
        code, said = process.end()
        took = time.monotonic() - asked

    assert code == 128 + signal.SIGTERM, said
    assert took < 5, f"it took {took:.1f} s to leave"


@pytest.mark.one_database("sqlite", "postgres")
def test_an_idle_worker_process_starts_a_new_job_soon(ours):
    """Given a worker process that has had nothing to do, when a job is dispatched, then it starts within moments."""
    with worker(ours) as process:
        process.hear("ais_worker")
        jobs.wait(jobs.dispatch("echo"), timeout=WAIT)
        rows = []
        for _ in range(5):
            time.sleep(0.4)  # idle: longer than a worker process looks often after a job
            rows.append(jobs.wait(jobs.dispatch("echo"), timeout=WAIT))

    latencies = [(row.started_at - row.created_at).total_seconds() for row in rows if row.started_at]
    print("dispatch to start, ms:", [round(seconds * 1000, 1) for seconds in latencies])
    assert max(latencies) < 2


def test_a_process_whose_settings_are_wrong_takes_nothing(ours):
    """Given settings that do not pass the checks, when a worker process starts, then it says so and claims no job."""
    job = jobs.dispatch("echo")

    with worker(ours, GATEWAYS={"default": "nonesuch"}) as process:
        code, said = process.end()

    assert code == 1
    assert "django_ais.E005" in said
    assert jobs.get(job).attempt == 0


def test_a_process_without_tables_says_what_to_do(ours, tmp_path):
    """Given a database that was never migrated, when a worker process starts, then it names the command to run."""
    settings = {**ours, **driven_by("database")}
    with CommandProcess("ais_worker", settings=settings, AIS_TEST_DB="sqlite", AIS_TEST_DIR=str(tmp_path)) as process:
        code, said = process.end()

    assert code == 1
    assert "manage.py migrate" in said


@pytest.mark.parametrize("driver", ["immediate", "memory"])
def test_an_embedded_queue_says_what_runs_here(ours, settings, driver):
    """Given a queue whose jobs run where they are dispatched, when a worker process starts, then it says so, and
    runs what the sweep finds.
    """
    settings.DJANGO_AIS = {**ours, "ANNOUNCE_AGAIN_SECONDS": 0.1}
    job = jobs.dispatch("echo", "left over")  # on a queue that nobody consumes

    with worker(ours, **driven_by(driver)) as process:
        first = process.hear("ais_worker")
        done = jobs.wait(job, timeout=WAIT)
        process.send(signal.SIGTERM)
        code, said = process.end()

    assert done.result == "left over"
    assert f"({driver})" in first
    assert "in the process that dispatches" in first
    assert code == 0, said


def test_an_engine_with_a_worker_of_its_own_takes_over(ours):
    """Given a driver with a command of its own, when a worker process starts, then it becomes that command."""
    with worker(ours, "--concurrency", "3", **driven_by(f"{DRIVERS}.WithCommand")) as process:
        code, said = process.end()

    assert code == 7
    assert "the engine, 3 at once" in said


def test_a_bound_that_an_engines_own_command_would_not_hear_of_is_refused(ours):
    """Given a driver with a command of its own, when started with --drain-seconds, then it says what to set instead."""
    with worker(ours, "--drain-seconds", "3", **driven_by(f"{DRIVERS}.WithCommand")) as process:
        code, said = process.end()

    assert code == 1
    assert "DJANGO_AIS['DRAIN_SECONDS']" in said
    assert "the engine, " not in said


def test_the_command_of_an_engine_can_be_printed(ours):
    """Given a driver with a command of its own, when it is asked for, then it is printed and not run."""
    with worker(ours, "--print-command", **driven_by(f"{DRIVERS}.WithCommand")) as process:
        code, said = process.end()

    assert code == 0
    assert said.count("the engine") == 1
    assert " -c " in said


def test_a_consumer_that_breaks_ends_the_process_with_an_error(ours):
    """Given a driver whose consumer raises, when it does, then the process tells the error and exits with 1."""
    with worker(ours, **driven_by(f"{DRIVERS}.Breaking")) as process:
        code, said = process.end()

    assert code == 1
    assert "the engine broke" in said
    assert JobPacket.objects.count() == 0
