"""A worker process stands still past its leases, others take over, and it comes back: too late to write anything."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from django.db import connection

from django_ais import jobs
from django_ais.models import JobPacket
from tests.harness.invariants import all_have_ended, assert_healed, snapshot
from tests.harness.waiting import until
from tests.harness.workers import Crew

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = {
    "second": "inside a step's function",
    "turn#2-1": "in the middle of a stream",
    "children": "between two steps, before it creates children",
    "end": "right before it settles",
}


def standing_jobs(folder: Path, *places: str) -> dict[Path, JobPacket]:
    """Jobs that stand still at these places, by the gates that let them go on."""
    found = {}
    for place in places:
        gate = folder / f"gate-{place}"
        os.mkfifo(gate)
        found[gate] = jobs.dispatch("crash", {"stand": place, "gate": str(gate), "children": int(place == "children")})
    return found


def open_gate(gate: Path) -> None:
    gate.write_text("")


def stands(crew: Crew, count: int) -> bool:
    return len(crew.ledger.lines("stands")) == count


@pytest.mark.parametrize("deaf", [pytest.param(False, id="as it is"), pytest.param(True, id="without its own caution")])
def test_a_process_that_is_thawed_past_its_leases_tries_to_write_and_lands_nothing(crew, tmp_path, deaf):
    """Wherever it stood. Without its own caution every write goes to the database, and the fence alone refuses it."""
    stale, other = crew.hire(watched=True, deaf=deaf, concurrency=8), crew.hire()
    standing = standing_jobs(tmp_path, *PLACES)
    accepted = {job.id: "succeeded" for job in standing.values()}
    stale.go()
    until(lambda: stands(crew, len(PLACES)), what="all jobs to stand")
    stale.freeze_outside_transactions()
    other.go()
    until(all_have_ended, what="the other process to take over and finish")
    assert assert_healed(crew.ledger, accepted) >= len(PLACES)
    healed, thawed = snapshot(), time.monotonic()

    stale.thaw()
    for gate in standing:
        open_gate(gate)
    assert stale.stop() == 0  # it ends once its jobs have let go

    tries = [line for line in crew.ledger.lines("fenced", pid=stale.pid) if line["begun"] > thawed]
    print(f"stale writes tried: {len(tries)}")
    assert [line for line in tries if line["landed"]] == []
    assert {line["job"] for line in tries} >= ({str(job) for job in accepted} if deaf else set())
    assert len(tries) > 0
    assert snapshot() == healed
    assert_healed(crew.ledger, accepted)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer: one that stands still stops them all")
def test_a_process_that_stands_still_inside_its_settle_stalls_nobody_else(crew, tmp_path):
    """It holds its job's row locked. Jobs of a process that died meanwhile are found and finished all the same."""
    frozen, dying, healing = crew.hire(), crew.hire(), crew.hire()
    ((gate, held),) = standing_jobs(tmp_path, "on_done").items()
    frozen.go()
    until(lambda: stands(crew, 1), what="the job to stand inside its settle")
    frozen.freeze()
    ((_, lost),) = standing_jobs(tmp_path, "second").items()
    dying.go()
    until(lambda: stands(crew, 2), what="the other job to stand")
    dying.kill()

    healing.go()
    until(lambda: JobPacket.objects.get(id=lost.id).is_terminal, what="the lost job to heal", seconds=10)
    assert not JobPacket.objects.get(id=held.id).is_terminal
    frozen.thaw()
    open_gate(gate)
    until(all_have_ended, what="the held job to settle")

    assert_healed(crew.ledger, {held.id: "succeeded", lost.id: "succeeded"})
