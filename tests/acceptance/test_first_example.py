"""The first page's promises, kept in a project of its own: its names, its file, its commands, in real processes."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest

from tests.acceptance import example_files, example_trials
from tests.acceptance.project import TRY_OUT, Project

pytestmark = pytest.mark.one_database("sqlite")  # with --full on PostgreSQL too

TRIALS = (
    "dispatch_by_type dispatch_by_path dispatch_many rolled_back start_by_name cancel_and_retry resume report spell "
    "ask doom"
).split()
SUMMARY = {"summary": "A storm is coming.", "words": 8}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The first example's project, migrated, with its workflow imported."""
    made = Project(tmp_path_factory.mktemp("first_example"))
    write(made)
    made.manage("makemigrations", "library")
    made.manage("migrate")
    made.manage("import_workflow", "workflows/summarize_pipeline.yaml")
    return made


@pytest.fixture(scope="module")
def tried(project: Project) -> dict[str, Any]:
    """What each trial of the project came to; a process for the plain ones, and one for the async ones."""
    return {**project.call("library.trials", *TRIALS), **project.call("library.async_trials", "twins_of_all")}


def write(project: Project) -> None:
    project.append("config/settings.py", example_files.SETTINGS)
    project.write("config/bare.py", "from config.settings import *\n\nDJANGO_AIS = {}\n")
    short = "{'CELERY_QUEUE': 'default', 'EVENT_CHANNEL_LAYER': 'default'}"
    project.write("config/short.py", f"from config.settings import *\n\nDJANGO_AIS = {short}\n")
    for app in ("your_app", "library", "library/migrations", "library/management", "library/management/commands"):
        project.write(f"{app}/__init__.py", "")
    project.write("your_app/apps.py", example_files.APPS)
    project.write("your_app/schemas.py", example_files.SCHEMAS)
    project.write("your_app/compute.py", example_files.COMPUTE)
    project.write("your_app/workers.py", example_files.WORKERS)
    project.write("library/models.py", example_files.MODELS)
    project.write("library/gateways.py", example_files.GATEWAYS)
    project.write("library/workers.py", example_files.LIBRARY_WORKERS)
    project.write("library/trials.py", example_trials.VERBS)
    project.write("library/async_trials.py", example_trials.ASYNC_VERBS)
    project.write("library/management/commands/try_out.py", TRY_OUT)
    project.write("workflows/summarize_pipeline.yaml", example_files.WORKFLOW)


def test_a_job_is_dispatched_by_its_type_with_every_option(tried):
    """Given the first page's worker, when dispatched with every keyword, then it runs as each of them says, once."""
    assert tried["dispatch_by_type"] == {
        "is_packet": True,
        "status": "succeeded",
        "result": SUMMARY,
        "same": True,
        "user": "ann",
        "priority": 5,
        "config": {"max_retries": 2, "timeout": 60},
        "late": True,
        "theirs": 1,
        "others": 0,
    }


def test_a_class_that_nobody_registered_is_found_by_its_path(tried):
    """Given a worker class without decorator in a `workers` module, when its path is dispatched, then it runs."""
    assert tried["dispatch_by_path"] == 3


def test_many_jobs_are_dispatched_at_once(tried):
    """Given a list of payloads in a transaction, when dispatched, then each has a job, in order, that runs after it."""
    assert tried["dispatch_many"] == [f"Letter {number}." for number in range(5)]


def test_a_job_of_a_rolled_back_transaction_never_was(tried):
    """Given a dispatch, when its transaction is rolled back, then there is no job."""
    assert tried["rolled_back"] is False


def test_the_workflow_is_started_by_its_name(tried):
    """Given the imported file, when started by name, then its job runs by type with the file's config, and it ends."""
    assert tried["start_by_name"] == {
        "status": "succeeded",
        "result": SUMMARY,
        "job": ["SUMMARIZE", "your_app.workers.SummarizationWorker", {"max_retries": 3, "timeout": 300.0}, "succeeded"],
        "tenant": "acme",
        "exact": "succeeded",
    }


def test_importing_the_same_file_again_changes_nothing(project):
    """Given the imported file, when imported again, then it says so."""
    said = project.manage("import_workflow", "workflows/summarize_pipeline.yaml")

    assert "unchanged document_summarizer@1.0" in said


def test_a_job_is_cancelled_and_retried_by_hand(tried):
    """Given a job of tomorrow, when cancelled and retried, then a new run, linked to it, succeeds."""
    assert tried["cancel_and_retry"] == ["cancelled", "not now", "succeeded", True]


def test_a_parked_job_is_resumed(tried):
    """Given a job that parks when its retries are used up, when what broke it is mended, then resuming ends it well."""
    assert tried["resume"] == ["exhausted", 2, "whole"]


def test_every_verb_has_a_twin_for_async_code(tried):
    """Given async code, when each verb's twin is awaited, then it does what the verb does."""
    assert tried["twins_of_all"] == {
        "dispatch": "succeeded",
        "many": ["succeeded", "succeeded"],
        "start": 8,
        "cancel": "cancelled",
        "retry": "succeeded",
        "resume": "whole",
    }


def test_every_hook_of_a_worker_has_its_part(tried):
    """Given prepare, run, route and on_done, a gateway with execute and trace, when the job runs, then each did its
    part, and what they recorded is there.
    """
    told = tried["report"]

    assert told["result"] == {"text": "TITLE OF TIDES: 4 PAGES", "pages": 8, "tone": "warm"}
    assert told["note"] == "TITLE OF TIDES: 4 PAGES [8, 9]"
    assert told["children"] == [8, 9]
    assert told["usage"] == [3, 4, 5]
    assert told["keys"] == ["count", "prepare", "turn-1"]
    assert told["spans"] == [f"chat default {told['id']}:turn-1"]
    assert {"job.progress", "message.delta", "x.library.counted", "job.suspended", "job.succeeded"} <= set(
        told["events"]
    )


def test_a_gateway_that_streams_is_heard_word_by_word(tried):
    """Given a gateway with _stream, and one that wraps its stream, when a job asks it, then the text is told as it
    comes, and whole as the result.
    """
    assert tried["spell"] == ["one two three ", "one two three ", 1]


def test_a_scripted_gateway_answers_by_its_script(tried):
    """Given a script in the settings, when prompts match it, then it answers, runs out, and fails once for a retry."""
    assert tried["ask"] == [["A storm", 1], ["Nothing to say.", 1], ["Nothing to say.", 2]]


def test_a_failure_is_told_to_its_worker(tried):
    """Given hooks written as async def, when run raises, then the job fails with its words and on_failure's row is
    there.
    """
    assert tried["doom"] == ["failed", "no way", 1]


@pytest.fixture
def worker_process(project: Project) -> Iterator[None]:
    """``manage.py ais_worker`` on the queue `later`, ended in order."""
    process = project.start("ais_worker", "--queue", "later")
    try:
        assert process.stdout is not None
        assert any("queue 'later'" in line for line in process.stdout)
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.stdout.read()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("worker_process")
def test_another_process_runs_the_job_of_another_queue(project):
    """Given a worker process on a second queue, when a job is dispatched to it, then that process does it."""
    assert project.call("library.trials", "elsewhere")["elsewhere"] == ["succeeded", SUMMARY["summary"]]


# -- commands ----------------------------------------------------------------------------------------------------------


def test_nothing_is_left_to_migrate(project):
    """Given the migrated project, when asked for missing migrations, then there are none, of us or of it."""
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    assert "[ ]" not in project.manage("showmigrations", "django_ais")


def test_the_check_accepts_the_example(project):
    """Given both short keys beside QUEUES, when checked, then there is no error: one of them has no effect."""
    said = project.manage("check")

    assert "ERROR" not in said.upper().replace("ERRORS.MD", "")
    assert re.findall(r"django_ais\.\w+", said) == ["django_ais.W002"]


@pytest.mark.parametrize("settings", ["config.bare", "config.short"])
def test_the_check_says_what_the_settings_lack(settings, project):
    """Given DJANGO_AIS = {} or the two short keys alone, when checked, then the gateway alone is missed: it has no
    default.
    """
    said = project.manage("check", "--settings", settings, fails=True)

    assert "bus" not in said.lower()
    assert "DJANGO_AIS['GATEWAYS'] = {'default'" in said


def test_a_project_without_drivers_can_still_be_migrated_by_one_that_has_them(project):
    """Given DJANGO_AIS = {}, when migrations are asked about, then the same ones are found: they name no driver."""
    said = project.manage("makemigrations", "--check", "--dry-run", "--skip-checks", "--settings", "config.bare")

    assert "No changes detected" in said


def test_the_example_is_the_one_that_is_promised(project):
    """Given the project, when its worker and its workflow are read, then they are the promised lines, unchanged."""
    printed = project.read("your_app/workers.py")

    for line in dedent(example_files.WORKERS).strip().splitlines():
        assert line in printed.splitlines()
    assert "from django_ais.workers import BaseWorker\n" in printed
    assert '        return {"prompt": f"Summarize: {job.payload[\'text\']}"}\n' in printed
    assert "    gateway_class = BaseGateway\n" in printed
