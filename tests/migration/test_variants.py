"""Projects with other time zones, users, keys and databases: each in a child process with settings of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOURNEYS = "tests/integration/variants"
NEW_YORK = {"AIS_TEST_TIME_ZONE": "America/New_York"}
NOBODY = "1"  # a port where no server listens: settings that name none must not find the system's
VARIANTS = {
    "naive times in New York": {**NEW_YORK, "AIS_TEST_USE_TZ": "0"},
    "aware times in New York, users with UUID keys": {**NEW_YORK, "AIS_TEST_USER": "uuid"},
    "two databases with a router": {"AIS_TEST_TWO_DATABASES": "1"},
}
PROJECTS = {
    "plain": {},
    "a custom user": {"AIS_TEST_USER": "uuid"},
    "naive times and other keys": {"AIS_TEST_USE_TZ": "0", "DJANGO_SETTINGS_MODULE": "tests.migration.other_settings"},
}


def run(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these settings and nothing of this session's: not its servers, its folder or its settings' name.

    (With that name pytest-django would read the settings before `tests.conftest` has said where the databases are.)
    """
    ours = ("AIS_TEST_", "DJANGO_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"PGPORT": NOBODY, **changed}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_jobs_run_alike_under_other_settings(variant):
    """Given such a project, when the journeys whose times and keys matter are run in it, then all of them pass."""
    variant = {"AIS_TEST_DB": os.environ.get("AIS_TEST_DB", "sqlite"), **VARIANTS[variant]}

    done = run("pytest", JOURNEYS, "-q", "-p", "no:cacheprovider", **variant)

    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 9
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("project", PROJECTS)
def test_no_migration_is_missing_under_any_settings(project):
    """Given such a project, when asked for missing migrations of ours, then there are none."""
    done = run("django", "makemigrations", "django_ais", "--check", "--dry-run", **settings_of(project))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes detected in app 'django_ais'" in done.stdout


def settings_of(project: str) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "tests.settings", **PROJECTS[project]}
