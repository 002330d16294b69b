"""The whole check, in one order: lint, types, migrations, then the tests on SQLite and on PostgreSQL.

`python3 run.py test` runs it. A red lint step ends it; a red database does not keep the other one from running.
With arguments (other than --full) it is pytest alone, on the database that AIS_TEST_DB names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.harness.servers import MissingServer, in_ci, postgres_folder  # noqa: E402

PYTHON = [sys.executable, "-m"]
LINT = {
    "ruff check": [*PYTHON, "ruff", "check", "."],
    "ruff format": [*PYTHON, "ruff", "format", "--check", "."],
    "imports": [str(Path(sys.executable).with_name("lint-imports"))],
    "mypy": [*PYTHON, "mypy"],
    "migrations": [*PYTHON, "django", "makemigrations", "--check", "--dry-run", "--settings", "tests.settings"],
}


def main(arguments: list[str]) -> int:
    os.chdir(ROOT)
    if arguments and arguments != ["--full"]:
        return run([*PYTHON, "pytest", *(arguments[1:] if arguments[0] == "--" else arguments)])
    started = time.monotonic()
    outcomes = lint() or suites(arguments)
    print()
    for step, outcome in outcomes.items():
        print(f"{outcome:>7}  {step}")
    seconds = time.monotonic() - started
    passed = "FAILED" not in outcomes.values()
    print(f"run.py test: {'passed' if passed else 'FAILED'} in {seconds:.0f} s", flush=True)
    return 0 if passed else 1


def lint() -> dict[str, str]:
    """Run the lint steps up to the first red one, which is returned; nothing is returned when all are green."""
    for step, command in LINT.items():
        if run_step(step, command) == "FAILED":
            return {step: "FAILED"}
    return {}


def suites(arguments: list[str]) -> dict[str, str]:
    pytest = [*PYTHON, "pytest", *arguments]
    return {
        "lint": "passed",
        "pytest on sqlite": run_step("pytest on sqlite", pytest, AIS_TEST_DB="sqlite"),
        "pytest on postgres": postgres_suite(pytest),
    }


def postgres_suite(command: list[str]) -> str:
    """Without a PostgreSQL this fails in CI, and says so loudly on a laptop."""
    try:
        postgres_folder()
    except MissingServer as error:
        print(f"\n!!!!! pytest on postgres: NOT RUN. {error}", flush=True)
        return "FAILED" if in_ci() else "NOT RUN"
    return run_step("pytest on postgres", command, AIS_TEST_DB="postgres")


def run_step(step: str, command: list[str], **environment: str) -> str:
    print(f"\n----- {step}", flush=True)
    started = time.monotonic()
    outcome = "FAILED" if run(command, **environment) else "passed"
    print(f"----- {step}: {outcome} in {time.monotonic() - started:.1f} s", flush=True)
    return outcome


def run(command: list[str], **environment: str) -> int:
    with subprocess.Popen(command, env={**os.environ, **environment}) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue  # pytest was interrupted too, and has servers to stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
