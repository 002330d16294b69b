"""The suite itself can fail, says what it proved, and lets nobody talk it out of it."""

from __future__ import annotations

import importlib
import json
import socket
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import django_ais.conformance
from django_ais.backends.queue.memory import MemoryQueue
from django_ais.conformance import QueueProfile
from django_ais.conformance.manifest import BY_ID, REQUIREMENTS, TIERS, of_kind, requirement_of
from django_ais.conformance.report import Report
from tests.conformance.suite_process import ROOT, run_suite

ODD = "tests.conformance.odd_profiles"
CONTRACT = ("--tier", "contract")

pytestmark = pytest.mark.one_database("sqlite")


def ids_of_tests(kind) -> list[str]:
    files = [
        file for suite in ("shared_suite", f"{kind}_suite")
        for file in Path(django_ais.conformance.__file__).parent.glob(f"{suite}/test_*.py")
    ]  # fmt: skip
    modules = [importlib.import_module(f"django_ais.conformance.{file.parent.name}.{file.stem}") for file in files]
    tests = [value for module in modules for name, value in vars(module).items() if name.startswith("test_")]
    return [requirement_of(test, kind) for test in tests]


def everything_passed(profile=QueueProfile):
    """A report in which each requirement that applies has passed."""
    report = Report(profile, MemoryQueue)
    for id in report.findings:
        if report.is_applicable(id):
            report.record(id, "passed")
    return report


@pytest.mark.parametrize("kind", ["queue", "bus"])
def test_every_requirement_has_a_test_and_every_test_a_requirement(kind):
    assert set(ids_of_tests(kind)) == {item.id for item in of_kind(kind)}


def test_ids_are_given_once():
    assert len(BY_ID) == len(REQUIREMENTS)
    assert {item.tier for item in REQUIREMENTS} == set(TIERS)


def test_a_report_without_an_outcome_is_incomplete():
    """Given a driver that passed all but one requirement, which nobody ran, then that is no conformance."""
    report = everything_passed()
    report.findings["Q-DELIVER-003"].outcomes.clear()

    assert (everything_passed().level, everything_passed().exit_code) == ("conformant", 0)
    assert (report.level, report.exit_code) == ("incomplete", 4)


def test_nothing_at_all_is_incomplete():
    assert Report(QueueProfile, MemoryQueue).level == "incomplete"


@pytest.mark.parametrize(
    ("id", "outcome", "level"),
    [
        ("Q-DELIVER-003", "failed", "non-conformant"),
        ("Q-DELIVER-003", "infra-error", "incomplete"),
        ("Q-STATIC-003", "failed", "partial"),
        ("Q-STATIC-003", "not-run", "incomplete"),
    ],
)
def test_one_bad_outcome_decides_the_level(id, outcome, level):
    report = everything_passed()
    report.findings[id].outcomes[:] = [] if outcome == "not-run" else [outcome]

    assert report.level == level


def test_one_of_two_tests_of_a_requirement_that_fails_is_enough():
    report = everything_passed()

    report.record("Q-ENQUEUE-004", "failed")

    assert report.outcome("Q-ENQUEUE-004") == "failed"


def test_a_flag_decides_which_half_of_a_capability_applies():
    """Given a driver that cannot purge, then the purge is not asked of it, and its refusal is."""
    report = Report(QueueProfile, MemoryQueue)

    assert report.outcome("Q-PURGE-001") == "not-applicable"
    assert report.outcome("Q-PURGE-002") == "not-run"


def test_a_failure_is_told(tmp_path):
    """Given a driver that breaks a promise, when the suite runs, then it exits with 1 and names the requirement."""
    run = run_suite(tmp_path, f"{ODD}:Retrying", *CONTRACT)

    assert run.code == 1, run.said
    assert run.ids("failed") == ["Q-DELIVER-001"]
    assert "Q-DELIVER-001" in run.said


def test_a_known_failure_is_partial(tmp_path):
    """Given the same with a link to the issue, then it is a known failure."""
    run = run_suite(tmp_path, f"{ODD}:Known", *CONTRACT)

    assert run.ids("known-failure") == ["Q-DELIVER-001"], run.said
    assert run.report["requirements"]["Q-DELIVER-001"]["reason"] == "https://example.org/issues/12"
    assert run.ids("failed") == []


def test_a_known_failure_that_passes_is_a_failure(tmp_path):
    run = run_suite(tmp_path, f"{ODD}:Cured", *CONTRACT)

    assert run.code == 1
    assert run.ids("failed") == ["Q-DELIVER-001"], run.said


@pytest.mark.parametrize("name", ["Unserved", "Unmet"])
def test_what_is_missing_is_no_skip(tmp_path, name):
    """Given a server or a library that is not there, when the suite runs, then the report is incomplete."""
    run = run_suite(tmp_path, f"{ODD}:{name}", *CONTRACT)

    assert (run.code, run.report["level"]) == (4, "incomplete"), run.said
    assert len(run.ids("infra-error")) > 10
    assert run.ids("passed") == []


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("tests.conformance.odd_profiles:NoSuchRequirement", "Q-NONESUCH-001"),
        ("tests.conformance.odd_profiles:NoLink", "link"),
        ("tests.conformance.odd_profiles:Nobody", "No profile"),
        ("no_such_module:Class", "No profile"),
        ("json:JSONDecoder", "no QueueProfile"),
        ("django_ais.conformance.profiles:RedisBus", "no QueueProfile"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(tmp_path, profile, words):
    run = run_suite(tmp_path, profile)

    assert run.code == 2
    assert words in run.said


def test_running_a_failed_test_again_is_refused(tmp_path):
    """Given a plugin that repeats failed tests, when the suite runs beside it, then nothing is run."""
    from django_ais.conformance.run import ConformanceRun

    class Config:
        class pluginmanager:  # noqa: N801
            @staticmethod
            def hasplugin(name):
                return name == "rerunfailures"

    with pytest.raises(pytest.UsageError, match="rerunfailures"):
        ConformanceRun(everything_passed()).pytest_configure(Config)  # type: ignore[arg-type]


def test_no_plugin_loads_itself_into_others_sessions():
    assert [point.value for point in entry_points(group="pytest11") if "django_ais" in point.value] == []


def test_importing_the_suite_needs_no_pytest():
    import subprocess

    code = "import sys, django_ais.conformance.profiles; print({'pytest', 'hypothesis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_a_report_names_no_machine(tmp_path):
    """Given a run, when its report is read, then it has versions, and neither the host's name nor a folder of it."""
    run = run_suite(tmp_path, "django_ais.conformance.profiles:Memory", "--tier", "static")
    text = json.dumps(run.report)

    assert run.report["environment"]["django"]
    assert socket.gethostname() not in text
    assert str(ROOT) not in text
    assert "/tmp" not in text
    assert (run.code, run.report["level"]) == (4, "incomplete"), "a tier alone proves no conformance"


@pytest.mark.parametrize("kind", ["queue", "bus"])
def test_the_requirements_can_be_listed(tmp_path, kind):
    run = run_suite(tmp_path, "", "--list", kind=kind)

    assert run.code == 0
    assert [id for id in BY_ID if (id in run.said) != (BY_ID[id].kind == kind)] == []
