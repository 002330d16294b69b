"""Worker processes are killed at named places, at random and by their own jobs; everything heals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

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
    return JobPacket.objects.filter(status="running", lease_expires_at__lte=timezone.now()).exists()


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


RECOVERIES = [
    pytest.param(first, second, marks=[] if first == second else [pytest.mark.full])
    for first in sorted(failpoints.NAMES)
    for second in sorted(failpoints.NAMES)
]


@pytest.mark.parametrize(("place", "again"), RECOVERIES)
def test_a_second_crash_inside_the_recovery_of_the_first_heals_too(crew, place, again):
    """The second process dies where it handles what the first has left: its lease is over when it starts."""
    first, second, third = crew.hire(), crew.hire(failpoints=f"{again}:1"), crew.hire()
    job = jobs.dispatch("crash", {"crash": f"{place}:1"})
    first.go()
    until(first.was_killed, what=f"{place} to fire")

    until(lease_is_over, what="the lease of the first to run out")
    second.go()
    until(second.was_killed, what=f"{again} to fire in the recovery")
    third.go()

    heal(crew, {job.id: "succeeded"})
    assert crew.fired == [place, again]


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", sorted(failpoints.NAMES))
def test_every_occurrence_of_a_failpoint_is_survived(crew, place):
    """The same job is killed at the first, second, third ... time that it passes the place, until it ends before."""
    accepted = {}
    for occurrence in range(1, 40):
        worker = crew.hire()
        job = jobs.dispatch("crash", {"crash": f"{place}:{occurrence}"})
        accepted[job.id] = "succeeded"
        worker.go()
        until(lambda: worker.was_killed() or ended(job), what=f"{place}:{occurrence} to fire or the job to end")
        if worker.is_alive:
            break
        worker = crew.hire().go()
        until(lambda: ended(job), what=f"the job killed at {place}:{occurrence} to heal")
        worker.kill()

    heal(crew, accepted)
    assert crew.fired == [place] * (len(accepted) - 1)
    assert occurrence > 1


def ended(job: JobPacket) -> bool:
    return JobPacket.objects.terminal().filter(id=job.id).exists()
