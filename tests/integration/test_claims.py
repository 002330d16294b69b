"""Claiming: of any number of deliveries of a job one attempt holds the lease."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.db.models import Count

from django_ais import conf, jobs
from django_ais.models import JobPacket
from django_ais.runtime import database, lifecycle, runner, sql
from tests.app.models import Effect
from tests.harness.attempts import by_hand, claim, expire, fresh, told  # noqa: F401
from tests.harness.claimers import arena
from tests.harness.interleave import Stage, impatient, needs_row_locks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]

COLLISIONS = 300
BATCH = 100
MOST_BATCHES = 15
CLAIMS = 10


def try_to_claim(job):
    return lifecycle.claim(job.id, alone=True)


def test_two_processes_that_claim_the_same_jobs_never_both_win():
    """At least 300 real collisions: both processes tried at the same moment, one won, the job was executed once."""
    races = []
    with arena() as processes:
        for _ in range(MOST_BATCHES):
            batch = jobs.dispatch_many("effect", range(BATCH))
            races += processes.run([str(job.id) for job in batch])
            if sum(race.collided for race in races) >= COLLISIONS:
                break

    collisions = [race for race in races if race.collided]
    wins = [sum(race.tries[lane].won for race in collisions) for lane in (0, 1)]
    print(f"{len(collisions)} collisions in {len(races)} races; won by each process: {wins}")
    assert len(collisions) >= COLLISIONS
    assert {race.winners for race in races} == {1}
    assert all(wins), "one process was always too late: they did not really race"
    assert set(JobPacket.objects.values_list("status", "attempt")) == {("succeeded", 1)}
    executed = Effect.objects.values("job_id").annotate(times=Count("id"))
    assert {row["times"] for row in executed} == {1}
    assert len(executed) == len(races)


def test_a_delivery_that_comes_twice_runs_once():
    """The second message finds the job settled, and is acknowledged."""
    job = jobs.dispatch("effect")

    outcomes = [runner.handle(str(job.id)) for _ in range(2)]

    assert [outcome.disposition.name for outcome in outcomes] == ["ACK", "ACK"]
    assert Effect.objects.count() == 1
    assert fresh(job).attempt == 1


def test_a_job_under_a_valid_lease_is_nobody_elses():
    """Only an expired lease lets another process in, under a new fence."""
    job = jobs.dispatch("effect")
    first = claim(job)
    assert try_to_claim(job) is None

    expire(job)
    second = claim(job)

    assert (second.lease.epoch, second.lease.owner) != (first.lease.epoch, first.lease.owner)
    assert second.row.attempt == 2


def test_a_job_that_is_not_due_is_not_claimed():
    """`run_after` is compared with the clock that leases are compared with."""
    job = jobs.dispatch("effect", run_after=database.moment() + database.seconds(60))
    assert try_to_claim(job) is None

    assert sql.change(job.id, {"run_after": database.now(-0.001)}, statuses=["queued"])
    assert try_to_claim(job) is not None


def test_a_job_whose_worker_this_process_does_not_know_is_left_to_others():
    """In a rolling deploy an old process acknowledges the message and leaves the row to a newer one."""
    job = jobs.dispatch("effect")
    assert sql.change(job.id, {"worker": "of-the-next-release"}, statuses=["queued"])

    assert runner.handle(str(job.id)).disposition.name == "ACK"
    assert lifecycle.claim_due("default", limit=5, alone=True) == []
    assert fresh(job).status == "queued"


def test_a_job_that_killed_two_processes_is_claimed_only_by_an_idle_one():
    """After two claims that never settled it must be alone; after `MAX_DELIVERIES` nobody claims it."""
    job = jobs.dispatch("effect")
    for _ in range(sql.SUSPECT_AFTER):
        assert lifecycle.claim(job.id, alone=False) is not None
        expire(job)

    assert lifecycle.claim(job.id, alone=False) is None
    for _ in range(conf.current().max_deliveries - sql.SUSPECT_AFTER):
        assert lifecycle.claim(job.id, alone=True) is not None
        expire(job)
    assert lifecycle.claim(job.id, alone=True) is None


def test_a_batch_takes_the_most_urgent_first_and_each_job_once():
    """`claim_due`: by priority, then by age; what was taken is not taken again."""
    late, soon, urgent = [jobs.dispatch("effect", priority=priority) for priority in (0, 0, 5)]

    first = lifecycle.claim_due("default", limit=2, alone=False)
    second = lifecycle.claim_due("default", limit=2, alone=False)

    assert [row.id for row, _ in first] == [urgent.id, late.id]
    assert [row.id for row, _ in second] == [soon.id]


@needs_row_locks
@pytest.mark.parametrize("batch", [False, True], ids=["one", "a batch"])
def test_a_claim_does_not_wait_for_the_disk(batch):
    """Given jobs, when each is claimed, then the log of the server is behind its head, and the connection as before."""
    behind = 0
    for _ in range(CLAIMS):
        job = jobs.dispatch("effect")
        claimed = lifecycle.claim_due("default", limit=1, alone=False) if batch else [try_to_claim(job)]
        behind += is_behind()
        assert claimed[0][0].id == job.id

    assert behind, "every claim waited"
    assert asked("SHOW synchronous_commit") == "on"


@needs_row_locks
def test_a_claim_in_a_callers_transaction_leaves_its_commit_alone():
    """Given a transaction of the caller's, when a job is claimed in it, then its commit waits for the disk as ever."""
    job = jobs.dispatch("effect")
    with transaction.atomic():
        assert try_to_claim(job) is not None
        assert asked("SHOW synchronous_commit") == "on"


def asked(query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def is_behind():
    """Whether the server has written to its log what the disk has not confirmed."""
    return asked("SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()")


@needs_row_locks
def test_a_batch_passes_over_rows_that_somebody_is_claiming():
    """Two worker processes take due jobs at once: neither waits for the other, and they share no job."""
    both = {jobs.dispatch("effect").id, jobs.dispatch("effect").id}
    with Stage() as stage:
        taken = stage.gate()

        def take_one():
            with transaction.atomic():
                rows = lifecycle.claim_due("default", limit=1, alone=False)
                taken.stop_here()
            return rows

        slow = stage.start(take_one)
        taken.await_reached()
        with impatient():
            mine = lifecycle.claim_due("default", limit=5, alone=False)
        taken.open()
        theirs = slow.result()

    assert (len(mine), len(theirs)) == (1, 1)
    assert {row.id for row, _ in [*mine, *theirs]} == both


def test_a_job_given_back_has_made_no_attempt():
    """A draining process releases what it has not begun: the next claim is the first attempt, under a new fence."""
    job = jobs.dispatch("effect")
    attempt = claim(job)

    assert lifecycle.release(attempt.lease)

    again = claim(job)
    assert (again.row.attempt, again.row.deliveries) == (1, 1)
    assert again.lease.epoch > attempt.lease.epoch
    assert told(job) == ["job.queued"]
