"""The suite finds out every driver that breaks a promise: by an assertion of that promise, with the broken part run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from django_ais.conformance.manifest import REQUIREMENTS
from tests.conformance.bus_mutants import BUS_MUTANTS
from tests.conformance.mutants import MUTANTS
from tests.conformance.suite_process import ENVIRONMENT, ROOT

ALL = [*MUTANTS, *BUS_MUTANTS]

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.one_database("sqlite"),
]


@pytest.fixture(scope="session")
def trials(tmp_path_factory):
    """What came of each mutant and of each honest driver, by requirement and name."""
    file = tmp_path_factory.mktemp("mutants") / "trials.json"
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.conformance.mutant_run", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    found = json.loads(file.read_text())
    seconds = sum(trial["seconds"] for trials in found.values() for trial in trials)
    print(f"{len(found['mutants'])} mutants and {len(found['controls'])} controls in {seconds:.0f} s")
    return found


@pytest.mark.parametrize("place", range(len(ALL)), ids=[f"{id}-{mutant.__name__}" for id, mutant in ALL])
def test_a_mutant_is_found_out(trials, place):
    """Given a driver that breaks a promise, when the tests of that promise run, then one of their assertions fails."""
    trial = trials["mutants"][place]

    assert trial["error"], "nobody noticed"
    assert trial["is_assertion"], f"an accident and no finding: {trial['error']}: {trial['message']}"
    assert trial["ran"], f"the broken part never ran: {trial['message']}"


def test_what_they_were_made_from_keeps_the_promises(trials):
    """The negative control: given the same driver without the break, when the same tests run, then they pass."""
    assert len(trials["controls"]) > 5
    assert [trial for trial in trials["controls"] if trial["error"]] == []


def test_every_must_of_the_contract_has_a_mutant():
    """Given the manifest, then each MUST of the contract tier is broken by somebody."""
    wanted = {item.id for item in REQUIREMENTS if item.tier == "contract" and item.level == "MUST"}

    assert wanted - {id for id, _ in ALL} == set()
