"""`import_workflow` stores every file that it is given, or none."""

from __future__ import annotations

import io
import sys

import pytest
from django.db import IntegrityError

from django_ais import jobs
from django_ais.models import JobPacket, Workflow
from django_ais.runtime import catalog
from tests.integration.commands.importing import BROKEN, GOOD, fail, run, write

ECHO = "tests.app.workers.Echo"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the files of a test are, and the folder it stands in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
