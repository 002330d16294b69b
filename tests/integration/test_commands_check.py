"""`import_workflow` checks everything before it touches the database, and says what is wrong in three formats."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from django_ais import registry
from django_ais.workers import BaseWorker
from tests.app.workers import Echo
from tests.integration.commands.importing import BROKEN, GOOD, fail, run, write

ROOT = Path(__file__).resolve().parents[2]
ECHO = "tests.app.workers.Echo"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the files of a test are, and the folder it stands in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
