"""Worker processes are killed at named places, at random and by their own jobs; everything heals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from django_ais import jobs
from django_ais.models import JobPacket
from django_ais.runtime import failpoints
from tests.harness.invariants import assert_healed
from tests.harness.waiting import until
from tests.harness.workers import Crew, WorkerProcess

pytestmark = pytest.mark.django_db(transaction=True)

SETTINGS = {"QUEUES": {"default": "database"}, "LEASE_SECONDS": 2, "SWEEP_SECONDS": 0.3, "MAX_DELIVERIES": 9}


@pytest.fixture
def crew(transactional_db: None, tmp_path: Path, settings: Any) -> Iterator[Crew]:
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, **SETTINGS}
    with Crew(tmp_path, SETTINGS) as crew:
        yield crew


def heal(crew: Crew, accepted: Mapping[UUID, str]) -> int:
    """Wait until all jobs have ended and check everything."""
    until(lambda: not JobPacket.objects.open().exists(), what="all jobs to end")
    above_one = assert_healed(crew.ledger, accepted)
    print(f"executions above one: {above_one}")  # noqa: T201
    return above_one


def lease_is_over() -> bool:
    from django_ais.runtime import sql

    return bool(sql.expired_leases())


@pytest.mark.parametrize("place", sorted(failpoints.NAMES))
def test_a_worker_process_killed_at_a_failpoint_leaves_nothing_undone_or_done_twice(crew, place):
    """Its first attempt has recorded a step and streamed a delta when the process dies."""
    first, second = crew.hire(), crew.hire()
    job = jobs.dispatch("crash", {"crash": f"{place}:1"})

    first.go()
    until(first.was_killed, what=f"{place} to fire")
    second.go()

    heal(crew, {job.id: "succeeded"})
    assert crew.fired == [place]
    assert crew.ledger.lines("armed", job=str(job.id))
