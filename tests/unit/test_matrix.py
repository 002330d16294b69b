"""The lists of tox environments: they cover what they say, name what exists, and a wrong name is refused."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import matrix

DRIVERS = {"memory", "database", "celery", "dramatiq", "rq", "nats", "django_tasks"}
BUSES = {"memory", "database", "redis", "nats", "postgres", "channels"}


def choices(environments: list[matrix.Environment], kind: str) -> set[str]:
    return {choice.removeprefix(kind) for each in environments for choice in each if choice.startswith(kind)}


def test_the_matrix_is_every_pair_of_python_and_django_that_exists_with_every_driver():
    """Given tox.ini, when its list is read, then it has each supported pair with each queue, bus and database, once."""
    environments = matrix.matrix()

    pairs = {each[:2] for each in environments}
    assert pairs == {
        *itertools.product(["py311"], ["dj42", "dj52"]),
        *itertools.product(["py312"], ["dj42", "dj52", "dj60", "dj61"]),
        *itertools.product(["py313"], ["dj52", "dj60", "dj61"]),
    }
    assert choices(environments, "queue_") == DRIVERS
    assert choices(environments, "bus_") == BUSES
    assert len(environments) == len(set(environments)) == len(pairs) * len(DRIVERS) * len(BUSES) * 2


@pytest.mark.parametrize(("name", "together", "fewest", "most"), [("smoke", 1, 6, 8), ("pairwise", 2, 42, 44)])
def test_a_list_covers_what_it_says(name, together, fewest, most):
    """Given the matrix, when a list is made, then it leaves out no combination that the matrix has, and is small."""
    environments = matrix.matrix()

    found = matrix.chosen_list(name)

    wanted = {frozenset(some) for each in environments for some in itertools.combinations(each, together)}
    assert {frozenset(some) for each in found for some in itertools.combinations(each, together)} == wanted
    assert set(found) <= set(environments)
    assert fewest <= len(found) <= most


def test_pairwise_is_hardly_longer_than_it_has_to_be():
    """Given seven queues and six buses, when all pairs are covered, then in one environment more than these two kinds
    need alone, at most.
    """
    environments = matrix.matrix()

    assert len(matrix.chosen_list("pairwise")) <= len({(each[2], each[3]) for each in environments}) + 1


def test_the_same_matrix_gives_the_same_list():
    """Given the matrix, when a list is printed by processes that hash differently, then both print the same."""
    script = Path(matrix.__file__)

    printed = [
        subprocess.run(
            [sys.executable, script, "pairwise"], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]

    assert printed[0] == printed[1]
    assert printed[0].count(b"\n") == len(matrix.chosen_list("pairwise"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("py312-dj52-queue_rq-bus_memory", "one db factor, and names none"),
        ("py312-queue_rq-bus_memory-db_sqlite", "one dj factor, and names none"),
        ("py312-dj52-dj60-queue_rq-bus_memory-db_sqlite", "one dj factor, and names dj52 and dj60"),
        ("py312-dj52-queue_rq-queue_nats-bus_memory-db_sqlite", "names queue_rq and queue_nats"),
        ("py312-dj52-queue_rabbit-bus_memory-db_sqlite", "'queue_rabbit' is no factor"),
        ("py313-dj42-queue_rq-bus_memory-db_sqlite", "do not go together"),
        ("py311-dj60-queue_rq-bus_memory-db_sqlite", "do not go together"),
    ],
)
def test_a_name_that_tox_would_take_in_silence_is_refused(name, says, capsys):
    """Given a name with a missing, doubled, unknown or unfit factor, when it is checked, then the check says what is
    wrong and ends with 1.
    """
    with pytest.raises(SystemExit) as ended:
        matrix.main(["check", name])

    assert ended.value.code == 1
    assert says in capsys.readouterr().err


def test_an_environment_with_another_django_than_it_names_is_refused(monkeypatch, capsys):
    """Given an environment whose Django some package has moved, when it is checked, then the check says so; with the
    right one it passes.
    """
    name = f"py{sys.version_info[0]}{sys.version_info[1]}-dj52-queue_rq-bus_memory-db_sqlite"

    monkeypatch.setattr("importlib.metadata.version", lambda package: "5.2.19")
    assert matrix.main(["check", name, "--installed"]) == 0
    monkeypatch.setattr("importlib.metadata.version", lambda package: "6.0.1")
    with pytest.raises(SystemExit):
        matrix.main(["check", name, "--installed"])

    assert "it runs with dj60" in capsys.readouterr().err


def test_every_name_of_the_matrix_passes_the_check():
    """Given the matrix, when its own names are checked, then none is refused."""
    environments = matrix.matrix()

    assert [name for name in map("-".join, environments) if matrix.problems(name, environments)] == []


def test_a_missing_python_is_reported_and_is_no_pass(monkeypatch, tmp_path, capsys):
    """Given a machine without the Python that an environment asks for, when the list is run, then the environment is
    told as not run and the run fails.
    """
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    code = matrix.run_all([("py312", "dj52", "queue_rq", "bus_memory", "db_sqlite")], [])

    said = capsys.readouterr().out
    assert code == 1
    assert "!!!!! NOT RUN: no Python for py312" in said
    assert "0 of 1 environments passed" in said


def test_the_newest_python_of_pyenv_is_taken_and_a_broken_one_is_not(monkeypatch, tmp_path):
    """Given several Pythons of a version under pyenv, the newest of which does not start, when one is looked for, then
    the newest that starts is found.
    """
    for patch, code in [("2", 0), ("9", 0), ("10", 0), ("11", 1)]:
        program = tmp_path / f"versions/3.12.{patch}/bin/python3.12"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    assert matrix.interpreter("py312") == tmp_path / "versions/3.12.10/bin/python3.12"


@pytest.mark.parametrize(("outcome", "code"), [("passed", 0), ("FAILED", 1)])
def test_one_environment_that_failed_fails_the_run(monkeypatch, capsys, outcome, code):
    """Given a list in which one environment ends so, when it is run, then the others are run all the same."""
    asked: list[str] = []

    def run_one(name, arguments):
        asked.append(name)
        return outcome if name.startswith("py311") else "passed"

    monkeypatch.setattr(matrix, "run_one", run_one)
    environments = matrix.chosen_list("smoke")

    assert matrix.run_all(environments, []) == code
    assert len(asked) == len(environments)
    assert f"{outcome:>7}  py311-" in capsys.readouterr().out


def test_the_full_list_is_not_run_on_a_small_machine(monkeypatch, capsys):
    """Given a machine of two processors, when the full list is to be run, then it is refused."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(matrix, "run_all", lambda environments, arguments: 0)

    with pytest.raises(SystemExit) as ended:
        matrix.main(["full", "--run"])

    assert ended.value.code == 2
    assert "756 environments are not for a machine" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["queue_", "bus_", "db_"])
def test_each_choice_tells_the_tests_what_was_chosen(kind):
    """Given tox.ini, when its choices of a kind are compared with what is set for them, then each sets its own name."""
    lines = (matrix.ROOT / "tox.ini").read_text().splitlines()

    for choice in choices(matrix.matrix(), kind):
        assert f"    {kind}{choice}: AIS_TEST_{kind.rstrip('_').upper()} = {choice}" in lines


@pytest.mark.parametrize(
    ("driver", "queue"),
    [
        ("nats", {"BACKEND": "nats", "OPTIONS": {"url": "nats://127.0.0.1:1"}}),
        ("database", {"BACKEND": "database"}),
        ("django_tasks", {"BACKEND": "django_tasks"}),
    ],
)
def test_the_settings_give_a_driver_the_private_broker(driver, queue):
    """Given the address of a private broker, when the settings name a driver, then it gets the address if it needs a
    broker, and Django Tasks its tables.
    """
    code = "import json; from tests import settings as s; print(json.dumps([s.DJANGO_AIS['QUEUES'], s.INSTALLED_APPS]))"
    named = {"AIS_TEST_QUEUE": driver, "AIS_TEST_BROKER_URL": "nats://127.0.0.1:1", "AIS_TEST_SETTINGS": "{}"}

    printed = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **named}, cwd=matrix.ROOT, capture_output=True, check=True
    ).stdout

    queues, apps = json.loads(printed)
    assert queues == {"default": queue}
    assert ("django_tasks_db" in apps) == (driver == "django_tasks")
