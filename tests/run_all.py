"""The whole check, in one order: lint, types, migrations, then the tests on SQLite and on PostgreSQL.

`python3 run.py test` runs it. A red lint step ends it; a red database does not keep the other one from running. The
tests wait for other processes more than they compute, so four suites run side by side.
With arguments (other than --full) it is pytest alone, on the database that AIS_TEST_DB names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from django_ais.conformance.servers import MissingServer, in_ci, postgres_folder  # noqa: E402

UNITS = "tests/unit"
QUEUES = "tests/conformance/test_queues.py"
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
    """All suites side by side; the lines of the first are shown as they come, the others' at their end."""
    pytest = [*PYTHON, "pytest", *arguments]
    both = [*pytest, UNITS, QUEUES]
    proofs = [*pytest, "tests/conformance", f"--ignore={QUEUES}"]
    rest = [*pytest, "tests", f"--ignore={UNITS}", "--ignore=tests/conformance"]
    beside = {
        "unit tests, conformance of queues": [("sqlite", both), ("postgres", both)],
        "conformance of the rest": [("sqlite", proofs)],
        "pytest on postgres": [("postgres", rest)],
    }
    outcomes = {"lint": "passed"}
    with ThreadPoolExecutor() as pool:
        running = {step: pool.submit(run_aside, parts) for step, parts in beside.items()}
        outcomes["pytest on sqlite"] = run_step("pytest on sqlite", rest, "sqlite")
        for step, suite in running.items():
            outcomes[step], said = suite.result()
            print(f"\n----- {step}, beside the others\n{said}", flush=True)
    return outcomes


def run_aside(parts: list[tuple[str, list[str]]]) -> tuple[str, str]:
    """The gravest outcome of these commands, each with its database, one after the other; and what they said."""
    found, started = [], time.monotonic()
    with tempfile.TemporaryFile() as log:
        for database, command in parts:
            found.append(run_on(database, command, log))
        log.seek(0)
        said = log.read().decode(errors="replace")
    outcome = next(gravest for gravest in ("FAILED", "NOT RUN", "passed") if gravest in found)
    return outcome, f"{said}----- {outcome} in {time.monotonic() - started:.1f} s"


def run_on(database: str, command: list[str], log: IO[bytes]) -> str:
    """One command. No PostgreSQL is a failure in CI, and a loud line on a laptop."""
    if database == "postgres":
        try:
            postgres_folder()
        except MissingServer as error:
            log.write(f"!!!!! NOT RUN. {error}\n".encode())
            log.flush()
            return "FAILED" if in_ci() else "NOT RUN"
    return "FAILED" if run(command, database, log) else "passed"


def run_step(step: str, command: list[str], database: str | None = None) -> str:
    print(f"\n----- {step}", flush=True)
    started = time.monotonic()
    outcome = "FAILED" if run(command, database) else "passed"
    print(f"----- {step}: {outcome} in {time.monotonic() - started:.1f} s", flush=True)
    return outcome


def run(command: list[str], database: str | None = None, log: IO[bytes] | None = None) -> int:
    """The exit code of a child, which prints here or into a file."""
    environment = {**os.environ, **({"AIS_TEST_DB": database} if database else {})}
    with subprocess.Popen(command, env=environment, stdout=log, stderr=log) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue  # pytest was interrupted too, and has servers to stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
