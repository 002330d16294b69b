"""Worker processes are killed at named places, at random and by their own jobs; everything heals."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from uuid import UUID

import pytest
from django.utils import timezone

from django_ais import jobs
from django_ais.models import JobPacket
from django_ais.runtime import catalog, failpoints
from django_ais.workflows import loader
from django_ais.workflows.spec import WorkflowSpec
from tests.app.models import Effect
from tests.harness.invariants import all_have_ended, assert_healed
from tests.harness.waiting import until
from tests.harness.workers import Crew, Fault, WorkerProcess

pytestmark = pytest.mark.django_db(transaction=True)


def heal(crew: Crew, accepted: Mapping[UUID, str]) -> int:
    """Wait until all jobs have ended and check everything."""
    until(all_have_ended, what="all jobs to end")
    above_one = assert_healed(crew.ledger, accepted)
    print(f"executions above one: {above_one}")
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


def test_an_effect_is_undone_with_the_result_that_dies_before_its_commit(crew):
    """The process is killed when `on_done` has written its row, before the transaction that it shares is committed."""
    first, second = crew.hire(), crew.hire()
    job = jobs.dispatch("crash", {"crash": "before_commit:1", "arm": "on_done", "children": 0})

    first.go()
    until(first.was_killed, what="before_commit to fire")
    assert not Effect.objects.exists()
    second.go()

    assert heal(crew, {job.id: "succeeded"}) == 1


IN_SHORT = {"before_commit", "in_sweep", "mid_flush"}
RECOVERIES = [
    pytest.param(first, second, marks=[] if first == second and first in IN_SHORT else [pytest.mark.full])
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
    second.go(may_die=True)
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
        job = jobs.dispatch("crash", {"crash": f"{place}:{occurrence}"})
        accepted[job.id] = "succeeded"
        if not dies_before_the_end(crew.hire(), job):
            break
        healer = crew.hire().go()
        until(partial(ended, job), what=f"the job killed at {place}:{occurrence} to heal")
        healer.kill()

    heal(crew, accepted)
    print(f"{place}: killed at {len(crew.fired)} occurrences")
    assert set(crew.fired) == {place}
    assert len(crew.fired) >= len(accepted) - 1


def dies_before_the_end(worker: WorkerProcess, job: JobPacket) -> bool:
    """Whether the process was killed before the job had ended."""
    worker.go()
    until(lambda: worker.was_killed() or ended(job), what="the failpoint to fire or the job to end")
    died = worker.was_killed()
    worker.kill()
    return died


def ended(job: JobPacket) -> bool:
    return JobPacket.objects.terminal().filter(id=job.id).exists()


WORKFLOW = """
name: poisoned
version: "1"
jobs:
  - id: prepare
    type: crash
    config: {max_retries: 8}
  - id: swallow
    type: poison
"""


def test_a_poison_job_fails_its_run_and_burns_no_neighbour(crew):
    """It kills each process that runs it. After MAX_DELIVERIES it fails, and its run; all others succeed once."""
    crew.change(MAX_DELIVERIES=3)
    catalog.store(loaded(WORKFLOW), source=WORKFLOW)
    run = jobs.start("poisoned", {"children": 1})
    neighbours = [jobs.dispatch("crash", {"children": 1, "pause": 0.1}) for _ in range(4)]

    crew.keep_alive(2, until_true=all_have_ended)

    poison = JobPacket.objects.get(type="poison")
    wanted = {run.id: "failed", poison.id: "failed", **{job.id: "succeeded" for job in neighbours}}
    above_one = assert_healed(crew.ledger, wanted)
    assert "WorkerCrashed" in str(poison.error)
    assert "swallow" in str(JobPacket.objects.get(id=run.id).error)
    assert JobPacket.objects.get(parent=poison).status == "cancelled"
    assert len(crew.ledger.lines("attempt", job=str(poison.id))) == 3
    assert above_one >= 2


def loaded(text: str) -> WorkflowSpec:
    found = loader.load(text)
    assert found.spec is not None, found
    return found.spec


PAGES = """
name: pages
version: "1"
jobs:
  - id: read
    type: crash.child
    foreach: {in: "${{ inputs.pages }}", as: page, limit: 2}
    with: {page: "${{ page }}", deltas: 2}
  - id: bind
    type: crash.child
    with: {pages: "${{ size(jobs.read.outputs) }}", deltas: 2}
"""


MANY = pytest.param(100, 12, marks=[pytest.mark.full, pytest.mark.timeout(600)])


@pytest.mark.parametrize(("count", "kills"), [(16, 3), MANY])
def test_worker_processes_killed_at_random_lose_and_repeat_nothing(crew, count, kills):
    """Two processes share the jobs; now and then, by a seeded hand, one of them is killed, and replaced."""
    crew.change(MAX_DELIVERIES=50)
    chance, moments = random.Random(count), range(count // 4, count)
    faults = [Fault(moment, lambda working: chance.choice(working).kill()) for moment in chance.sample(moments, kills)]
    payloads = [{"children": place % 3, "deltas": chance.randint(1, 6), "pause": 0.1} for place in range(count)]
    catalog.store(loaded(PAGES), source=PAGES)
    runs = [jobs.start("pages", {"pages": [1, 2, 3, 4]}) for _ in range(count // 8)]
    accepted = {job.id: "succeeded" for job in [*jobs.dispatch_many("crash", payloads), *runs]}

    crew.keep_alive(2, until_true=all_have_ended, faults=faults)

    above_one = assert_healed(crew.ledger, accepted)
    print(f"{count} jobs, {kills} kills, executions above one: {above_one}")
    assert above_one > 0
