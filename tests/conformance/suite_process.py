"""The suite's command, as an author runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from django_ais.conformance.manifest import BY_ID, Kind
from django_ais.conformance.profile import load_profile
from django_ais.conformance.servers import MissingServer, in_ci

DATABASE = os.environ.get("AIS_TEST_DB", "sqlite")
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
    "PYTHONPATH": str(ROOT / "docs" / "examples"),
}


@dataclass(frozen=True)
class Run:
    """What the command said, wrote and returned."""

    code: int
    said: str
    report: dict[str, Any]

    def ids(self, outcome: str) -> list[str]:
        """The requirements with this outcome."""
        return [id for id, entry in self.report["requirements"].items() if entry["outcome"] == outcome]


def run_suite(folder: Path, profile: str, *arguments: str, kind: Kind = "queue", **environment: str) -> Run:
    """``python -m django_ais.conformance KIND --profile PROFILE --report FILE ARGUMENTS``."""
    file = folder / "report.json"
    command = [sys.executable, "-m", "django_ais.conformance", kind, "--profile", profile, "--report", str(file)]
    done = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(file.read_text()) if file.exists() else {}
    return Run(done.returncode, done.stdout + done.stderr, report)


def need_servers(profile: str, kind: Kind = "queue") -> None:
    """Not run without the servers, loudly; in CI that is an error."""
    for server in load_profile(profile, kind).servers:
        try:
            with server():
                pass
        except MissingServer as error:
            if in_ci():
                raise
            pytest.skip(f"NOT RUN: {error}")


def assert_proved(folder: Path, profile: str, *tiers: str, kind: Kind = "queue", database: str = DATABASE) -> None:
    """The tiers have run, and every requirement of them that applies has passed."""
    need_servers(profile, kind)
    run = run_suite(folder, profile, "--tier", ",".join(tiers), "--database", database, kind=kind)
    print(run.said)

    assert run.ids("failed") == [], run.said
    assert run.ids("infra-error") == [], run.said
    left = [id for id in run.ids("not-run") if BY_ID[id].tier in tiers]
    assert left == [], run.said
    assert len(run.ids("passed")) > 3


def run_faults(folder: Path, profile: str, test: str) -> dict[str, Any]:
    """What came of ``python -m tests.conformance.fault_run``. Raises AssertionError if it did not get to its end."""
    need_servers(profile)
    file = folder / "faults.json"
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.conformance.fault_run", str(file), profile, test]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    found: dict[str, Any] = json.loads(file.read_text())
    print({name: value for name, value in found.items() if name != "message"})
    return found


def assert_found_out(found: dict[str, Any], reason: str) -> None:
    """A test has failed by an assertion that gives this reason, after the fault had happened."""
    assert found["error"], "nobody noticed"
    assert found["is_assertion"], f"an accident and no finding: {found['error']}: {found['message']}"
    assert reason in found["message"], found["message"]
    assert found["broken"], f"the broken part never ran: {found['message']}"
