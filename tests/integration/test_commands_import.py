"""`import_workflow`: everything is checked first; then all files are stored, or none."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from pydantic import BaseModel

from django_ais import jobs, registry
from django_ais.models import JobPacket, Workflow
from django_ais.runtime import catalog
from django_ais.workers import BaseWorker
from tests.app.workers import Echo

ROOT = Path(__file__).resolve().parents[2]
ECHO = "tests.app.workers.Echo"
GOOD = """\
name: letters
version: "1"
jobs:
  - type: echo
"""
BROKEN = """\
name: letters
jobs:
  - type: ECHO
    worker: tests.app.workers.Ecko
    needz: []
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the files of a test are, and the folder it stands in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, name, text=GOOD):
    (folder / name).write_text(text)
    return name


def run(*arguments):
    """What the command prints on its two streams."""
    out, err = StringIO(), StringIO()
    call_command("import_workflow", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def fail(*arguments):
    """The error that the command ends with, and what it prints before."""
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("import_workflow", *arguments, stdout=out, stderr=err)
    return caught.value, out.getvalue(), err.getvalue()


# -- storing ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_file_is_stored_once(folder):
    """Given a file, when it is imported twice, then it is created first and unchanged after."""
    file = write(folder, "letters.yaml")

    assert run(file) == ("created letters@1\n", "")
    assert run(file) == ("unchanged letters@1\n", "")
    stored = Workflow.objects.get()
    assert (stored.name, stored.version, stored.tenant, stored.source) == ("letters", "1", "", GOOD)


@pytest.mark.django_db
def test_a_version_is_never_changed(folder):
    """Given a stored version, when a file says something else under the same version, then that is an error."""
    run(write(folder, "letters.yaml"))

    error, _, told = fail(write(folder, "letters.yaml", GOOD.replace("echo", "effect")))

    assert error.returncode == 1
    assert "letters@1 was imported before with other content; give the file a new version" in told
    assert Workflow.objects.get().spec["jobs"][0]["type"] == "echo"


@pytest.mark.django_db
def test_a_folder_means_its_workflow_files(folder):
    """Given a folder, when it is imported, then its *.yaml and *.yml files are stored in the order of their names."""
    write(folder, "b.yml", GOOD.replace("letters", "second"))
    write(folder, "a.yaml", GOOD.replace("letters", "first"))
    write(folder, "c.txt", BROKEN)

    out, _ = run(str(folder))

    assert out == "created first@1\ncreated second@1\n"


@pytest.mark.django_db
def test_standard_input_is_a_file_too(monkeypatch):
    """Given a workflow on standard input, when ``-`` is imported, then it is stored."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))

    assert run("-")[0] == "created letters@1\n"


@pytest.mark.django_db
def test_a_tenant_has_workflows_of_its_own(folder):
    """Given a tenant, when a file is imported for it, then the row is the tenant's."""
    run(write(folder, "letters.yaml"), "--tenant", "acme")

    assert Workflow.objects.get().tenant == "acme"


@pytest.mark.django_db
def test_one_bad_file_keeps_all_out(folder):
    """Given a good file and one with errors, when both are imported, then nothing is stored."""
    error, out, _ = fail(write(folder, "good.yaml"), write(folder, "broken.yaml", BROKEN))

    assert str(error) == "2 errors in 2 files; nothing was stored."
    assert out == ""
    assert not Workflow.objects.exists()


@pytest.mark.django_db
def test_one_conflict_keeps_all_out(folder):
    """Given two files that are good each by itself and contradict each other, then nothing is stored, and the error
    names the second.
    """
    error, _, told = fail(write(folder, "a.yaml"), write(folder, "b.yaml", GOOD.replace("echo", "effect")))

    assert error.returncode == 1
    assert told.startswith("error: b.yaml: letters@1")
    assert not Workflow.objects.exists()


@pytest.mark.django_db
def test_two_processes_may_import_the_same_file(folder, monkeypatch):
    """Given another process that stores the same version in the same moment, when the database refuses the second
    row, then the import finds the first.
    """
    store = catalog.store
    turns = iter([IntegrityError("ais_workflow_version")])

    def refused_once(*arguments, **options):
        for error in turns:
            raise error
        return store(*arguments, **options)

    monkeypatch.setattr(catalog, "store", refused_once)

    assert run(write(folder, "letters.yaml"))[0] == "created letters@1\n"


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_changes_no_row(folder):
    """Given a stored version, when another is imported dry, then the answer is the real one and the rows are as
    before.
    """
    run(write(folder, "letters.yaml"))
    before = list(Workflow.objects.values())

    newer = write(folder, "letters.yaml", GOOD.replace('"1"', '"2"'))
    other = write(folder, "other.yaml", GOOD.replace("letters", "other"))
    out, _ = run(newer, other, "--dry-run")

    assert out == "would create letters@2\nwould create other@1\n"
    assert list(Workflow.objects.values()) == before


@pytest.mark.django_db
def test_a_diff_goes_by_job_and_key(folder):
    """Given a stored version, when a newer file is imported with --diff, then each change is a line."""
    first, _ = run(write(folder, "letters.yaml"), "--diff")
    second, _ = run(
        write(folder, "letters.yaml", GOOD.replace('"1"', '"2"') + "    config: {timeout: 60}\n  - type: effect\n"),
        "--diff",
    )

    assert first == "created letters@1\n  first version\n"
    assert second.splitlines()[0] == "created letters@2"
    assert "  ~ job echo: config.timeout added: 60.0" in second
    assert "  + job effect (worker effect, needs echo)" in second


# -- checking, without a database ------------------------------------------------------------------------------------


def test_a_check_needs_no_database(folder):
    """Given a good file and no database, when it is only checked, then it passes."""
    assert run(write(folder, "letters.yaml"), "--check") == ("checked letters@1\n", "")


def test_every_error_is_told_with_its_place(folder):
    """Given a file with two faults, when it is checked, then both are shown with line, column and a way out."""
    error, _, told = fail(write(folder, "broken.yaml", BROKEN), "--check")

    assert (error.returncode, str(error)) == (1, "2 errors in 1 file.")
    assert "broken.yaml:4:13: error[ais.W130]: no worker is registered as 'tests.app.workers.Ecko'" in told
    assert f"^ did you mean '{ECHO}'?" in told
    assert "broken.yaml:5:5: error[ais." in told


def test_a_queue_that_no_setting_has_is_an_error(folder):
    """Given a job on an unknown queue, when it is checked, then the error names the queues there are."""
    error, _, told = fail(write(folder, "letters.yaml", GOOD + "    queue: fast\n"), "--check")

    assert error.returncode == 1
    assert "letters.yaml: job 'echo' names the queue 'fast'" in told
    assert "Known: default" in told


class Answer(BaseModel):
    text: str


class Tone(BaseModel):
    polite: bool = True


class Unspeakable(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    stream: io.StringIO


class Typed(BaseWorker):
    """Says what it takes and gives."""

    output_class = Answer
    config_class = Tone


class Untyped(BaseWorker):
    """Whose models have no JSON Schema."""

    output_class = Unspeakable
    config_class = Unspeakable


@pytest.fixture
def registered(monkeypatch):
    """Workers that are registered by hand, for one test."""
    monkeypatch.setattr(registry, "_workers", dict(registry.workers()))
    registry.register("typed", Typed)
    registry.register("untyped", Untyped)


def test_what_a_worker_declares_is_checked(folder, registered):
    """Given a worker with an output and a config model, when a file contradicts them, then both are told."""
    text = "name: w\njobs:\n  - type: typed\n    config: {polite: perhaps}\noutputs: ${{ jobs.typed.outputs.txt }}\n"

    _, _, told = fail(write(folder, "w.yaml", text), "--check")

    assert "config.polite does not fit worker 'typed'" in told
    assert "did you mean 'text'?" in told


def test_a_worker_without_a_json_schema_stands_in_nobodys_way(folder, registered):
    """Given a worker whose models cannot be written as JSON Schema, when its file is checked, then it passes."""
    text = "name: w\njobs:\n  - type: untyped\n    config: {stream: x}\noutputs: ${{ jobs.untyped.outputs.any }}\n"

    assert run(write(folder, "w.yaml", text), "--check") == ("checked w@1\n", "")


# -- what is stored can be run ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("worker", ["echo", ECHO])
def test_an_imported_workflow_runs_by_name_and_by_dotted_path(folder, settings, worker):
    """Given a job whose worker is named as registered or by its class's path, when the workflow is started, then a
    process that knows the class takes it.
    """
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "immediate"}}
    run(write(folder, "letters.yaml", f"name: letters\njobs:\n  - type: ECHO\n    worker: {worker}\n"))

    run_of_it = jobs.start("letters", {"text": "hello"})

    done = jobs.get(run_of_it)
    assert (done.status, done.result) == ("succeeded", {"text": "hello"})
    assert JobPacket.objects.get(parent=run_of_it).worker == worker


def test_a_class_registered_by_hand_is_known_by_its_path(registered):
    """Given a class registered under a name alone, when its dotted path is asked for, then it is the same class."""
    assert registry.worker(f"{__name__}.Typed") is Typed
    assert registry.worker(ECHO) is Echo


# -- formats and exit codes --------------------------------------------------------------------------------------------


def test_json_is_one_document(folder):
    """Given a good and a broken file, when they are checked as JSON, then standard output is one document with every
    problem.
    """
    _, out, told = fail(write(folder, "a.yaml"), write(folder, "broken.yaml", BROKEN), "--check", "--format", "json")

    document = json.loads(out)
    assert told == ""
    assert [problem["code"] for problem in document["problems"]] == ["ais.W130", "ais.W101"]
    assert document["workflows"] == []


def test_json_says_what_was_checked(folder):
    """Given a good file, when it is checked as JSON, then the document names it, its version and its digest."""
    document = json.loads(run(write(folder, "letters.yaml"), "--check", "--format", "json")[0])

    (one,) = document["workflows"]
    assert (one["file"], one["workflow"], one["outcome"]) == ("letters.yaml", "letters@1", "checked")
    assert len(one["digest"]) == 64


def test_github_gets_annotations(folder):
    """Given a broken file whose name needs escaping, when it is checked for GitHub, then each problem is a workflow
    command.
    """
    _, out, _ = fail(write(folder, "a,b.yaml", BROKEN), "--check", "--format", "github")

    first, second = out.splitlines()
    assert first.startswith("::error file=a%2Cb.yaml,line=4,col=13,title=ais.W130::no worker is registered as ")
    assert second.startswith("::error file=a%2Cb.yaml,line=5,col=5,title=ais.W101::")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.yaml"], "There is no file or folder 'absent.yaml'."),
        (["empty"], "The folder 'empty' holds no *.yaml or *.yml file."),
        (["letters.yaml", "--check", "--diff"], "--diff needs the database"),
        (["letters.yaml", "--tenant", "x" * 101], "--tenant must be at most 100 characters"),
    ],
)
def test_what_was_asked_wrongly_is_a_usage_error(folder, arguments, message):
    """Given arguments that make no sense, when the command is called, then it fails with exit code 2 and says why."""
    write(folder, "letters.yaml")
    (folder / "empty").mkdir()

    error, _, _ = fail(*arguments)

    assert error.returncode == 2
    assert message in str(error)


def test_exit_codes_reach_the_shell(folder):
    """Given a good file, a broken one and an option that is none, when the shell runs the command, then it sees 0, 1
    and 2.
    """
    command = [sys.executable, "-m", "django", "import_workflow", "--check"]
    calls = [[write(folder, "a.yaml")], [write(folder, "b.yaml", BROKEN)], ["a.yaml", "--formatt", "json"]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    codes = [
        subprocess.run([*command, *call], cwd=folder, env=environment, capture_output=True, check=False).returncode
        for call in calls
    ]

    assert codes == [0, 1, 2]
