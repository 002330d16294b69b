"""Every rule that an interleaving needs is missed when it is gone: without it, its tests fail."""

from __future__ import annotations

import os

import pytest

from tests.harness.mutations import MUTATIONS, copy_tree, run_tests, sources

HERE = os.environ.get("AIS_TEST_DB", "sqlite")
MINE = [mutation for mutation in MUTATIONS if HERE in mutation.databases]
FAILED = 1  # pytest's exit code for "tests ran and some failed"; a broken import is another


@pytest.fixture
def tree(tmp_path):
    """A copy of the package and its tests."""
    copy_tree(tmp_path)
    return tmp_path


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_every_rule_can_still_be_taken_away(mutation):
    """The texts that the mutations replace are in the code; else they would prove nothing."""
    for path, text in sources(mutation).items():
        compile(text, str(path), "exec")


@pytest.mark.full
@pytest.mark.timeout(400)
def test_with_all_rules_the_tests_of_the_mutations_pass(tree):
    """The control: an untouched copy is green, and it is the copy that is tested."""
    package, imported = tree / "django_ais/__init__.py", tree / "imported"
    package.write_text(f"{package.read_text()}\nopen({str(imported)!r}, 'w').close()\n")
    files = sorted({mutation.tests[0].split("::")[0] for mutation in MINE})

    done = run_tests(tree, *files)

    assert done.returncode == 0, done.stdout[-3_000:]
    assert imported.exists()


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("mutation", MINE, ids=lambda mutation: mutation.rule)
def test_without_the_rule_its_tests_fail(mutation, tree):
    """The rule is taken away in a copy; at least one of its tests goes red."""
    for path, text in sources(mutation).items():
        (tree / path).write_text(text)

    done = run_tests(tree, *mutation.tests)

    print(f"\n{mutation.rule}: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == FAILED, done.stdout[-3_000:] + done.stderr[-2_000:]
    assert " failed" in done.stdout.splitlines()[-1]
