"""The example project's own tests, run as its readers would run them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

DESK = DOCS / "examples" / "order_desk"
LINES = 5
pytestmark = pytest.mark.skipif(os.environ.get("AIS_TEST_DB") == "postgres", reason="the example has SQLite")


def run(*command: str) -> str:
    """Run Python in the example's folder; return what it said."""
    given = {key: value for key, value in os.environ.items() if not key.startswith(("AIS_", "DJANGO_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=DESK, env={**given, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_examples_tests_pass_with_pytest() -> None:
    """Given the example, when pytest runs in its folder, then its tests pass."""
    assert re.search(r"\b4 passed", run("-m", "pytest", "-q", "-p", "no:cacheprovider"))


def test_the_examples_tests_pass_with_unittest() -> None:
    """Given the example, when Django runs its tests, then they pass."""
    assert re.search(r"Ran 1 test.*OK", run("manage.py", "test", "order_desk"), re.DOTALL)


def test_the_examples_migrations_are_whole() -> None:
    """Given the example's models, when migrations are looked for, then none is missing."""
    assert "No changes" in run("manage.py", "makemigrations", "--check", "--dry-run")


@pytest.mark.parametrize("file", ["test_with_pytest.py", "tests.py"])
def test_a_test_of_a_workflow_has_at_most_five_lines(file: str) -> None:
    """Given the example's tests, when their lines are counted, then none has more than five."""
    tree = ast.parse(Path(DESK / file).read_text(encoding="utf-8"))
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]

    assert tests
    assert {test.name for test in tests if (test.end_lineno or 0) - test.lineno + 1 > LINES} == set()
