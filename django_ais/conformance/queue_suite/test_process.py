"""Real worker processes, killed and frozen at work; brokers that die and forget. Afterwards nothing may be missing.

Each fault is seen to have happened, else the test is red: a run in which nothing went wrong proves nothing.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from django_ais.conformance.bench import Bench
from django_ais.conformance.crew import MAX_DELIVERIES, RECOVERY_SECONDS, Crew
from django_ais.conformance.manifest import requirement
from django_ais.conformance.waiting import never
from django_ais.queues import QueueMessage

JOBS = 30
KILLS = 3
QUIET = 1.0  # seconds in which a stale write would have landed


@requirement("Q-LOSS-001")
def test_killed_worker_processes_lose_nothing(bench: Bench) -> None:
    """Given jobs at work, when three processes are killed in the middle of one, then all end, once, and soon."""
    crew = Crew(bench)
    ids, recoveries = crew.dispatch(JOBS), {}
    for _ in range(KILLS):
        job_id, _, worker = crew.standing()
        recoveries[job_id] = time.monotonic()
        worker.kill()
        ids.append(job_id)

    crew.until(lambda: crew.have_ended(ids), what="all jobs to end")

    counts = crew.assert_healed(ids)
    slowest = max(crew.recovery(job_id, since) for job_id, since in recoveries.items())
    bench.facts["sigkill"] = {**counts, "fired": KILLS, "slowest_recovery_s": round(slowest, 1)}
    assert counts["attempts_above_one"] >= KILLS, "no killed process had a job"
    assert slowest <= RECOVERY_SECONDS, f"a job waited {slowest:.1f} s for its next attempt"


@requirement("Q-STALE-001")
def test_a_process_that_stood_still_writes_nothing(bench: Bench) -> None:
    """Given a process that stands still past its lease, when it goes on, then it tries to and nothing lands."""
    crew = Crew(bench)
    job_id, gate, worker = crew.standing()
    crew.freeze(worker)
    crew.until(lambda: crew.have_ended([job_id]), what="another process to take over")
    crew.assert_healed([job_id])
    healed, effects = crew.snapshot(job_id), len(bench.ledger.lines("effect", job=job_id))

    gate.open()
    worker.thaw()
    crew.until(lambda: bench.ledger.lines("stale", job=job_id), what="the stale attempt to go on")

    never(lambda: crew.snapshot(job_id) != healed, what="a stale process wrote", seconds=QUIET)
    assert len(bench.ledger.lines("effect", job=job_id)) == effects
    attempted = len(bench.ledger.lines("stale", job=job_id))
    bench.facts["sigstop"] = {"fired": 1, "stale_attempted": attempted, "stale_landed": 0}
    crew.assert_healed([job_id])


@requirement("Q-TWICE-001")
def test_every_message_twice_is_every_effect_once(bench: Bench) -> None:
    """Given a driver whose messages all arrive twice, when jobs are dispatched, then each is done once."""
    crew, queue = Crew(bench), bench.queue
    whole, sent = queue._enqueue, []

    def twice(messages: Sequence[QueueMessage], *, timeout: float) -> None:
        copies = [dataclasses.replace(message, dispatch_id=f"{message.dispatch_id}b") for message in messages]
        sent.extend([*messages, *copies])
        whole([*messages, *copies], timeout=timeout)

    queue._enqueue = twice  # type: ignore[method-assign]
    try:
        ids = crew.dispatch(JOBS)
    finally:
        del queue._enqueue
    crew.until(lambda: crew.have_ended(ids), what="all jobs to end")

    assert len(sent) == 2 * JOBS
    if not bench.profile.rows_only:
        crew.until(lambda: handed(bench, ids) >= 2 * JOBS, what="the copies to be handed over")
    bench.facts["twice"] = {**crew.assert_healed(ids), "fired": len(sent) - JOBS, "handed": handed(bench, ids)}


def handed(bench: Bench, ids: Sequence[str]) -> int:
    return sum(len(bench.handed(job_id)) for job_id in ids)


@requirement("Q-POISON-001")
def test_a_job_that_kills_whoever_runs_it_fails_alone(bench: Bench) -> None:
    """Given a job that kills its process each time, then it fails after a few times, and all others end well."""
    crew = Crew(bench)
    (poison,) = crew.dispatch(1, type="conformance.poison")
    ids = [poison, *crew.dispatch(JOBS // 3)]

    crew.until(lambda: crew.have_ended(ids), what="all jobs to end")

    deaths = len(bench.ledger.lines("attempt", job=poison))
    bench.facts["poison"] = {**crew.assert_healed(ids, poisoned=[poison]), "fired": deaths}
    assert 2 <= deaths <= MAX_DELIVERIES, f"the poison was run {deaths} times"


@requirement("Q-BROKER-001")
def test_a_broker_that_is_killed_and_comes_back_loses_nothing(bench: Bench) -> None:
    """Given jobs at work, when every server is killed and started again, then all jobs end, and new ones too."""
    crew = Crew(bench)
    ids = crew.dispatch(JOBS, {"pause": 0.1})
    crew.until(lambda: handed(bench, ids) >= JOBS // 4, what="the work to begin")
    assert not crew.have_ended(ids), "the fault came too late"

    fired = 0
    for server in bench.servers:
        before = server.pid
        server.sigkill()
        server.start()
        fired += server.pid != before
    ids += crew.dispatch(5)
    crew.until(lambda: crew.have_ended(ids), what="all jobs to end")

    bench.facts["broker_sigkill"] = {**crew.assert_healed(ids), "fired": fired}
    assert fired == len(bench.servers)


@requirement("Q-BROKER-002")
def test_a_broker_that_forgets_loses_nothing(bench: Bench) -> None:
    """Given messages that wait, when every server loses its data, then the sweep finds all jobs, and they end."""
    crew = Crew(bench)
    bench.dismiss()
    ids = crew.dispatch(JOBS)

    for server in bench.servers:
        server.wipe()
    waiting = bench.queue.depth()
    crew.keep()
    crew.until(lambda: crew.have_ended(ids), what="all jobs to end")

    bench.facts["broker_wiped"] = {**crew.assert_healed(ids), "fired": len(bench.servers)}
    assert not waiting, f"{waiting} messages outlived the data"


@requirement("Q-BROKER-003")
def test_a_broker_that_is_down_at_dispatch_loses_nothing(bench: Bench) -> None:
    """Given dead servers, when jobs are dispatched, then dispatch succeeds, and they end once the servers are back."""
    crew = Crew(bench)
    for server in bench.servers:
        server.sigkill()
    started = time.monotonic()
    ids = crew.dispatch(JOBS // 3)
    took = time.monotonic() - started
    for server in bench.servers:
        server.start()

    crew.until(lambda: crew.have_ended(ids), what="all jobs to end")

    bench.facts["broker_down"] = {**crew.assert_healed(ids), "fired": len(bench.servers)}
    assert took < 5, f"a dispatch waited {took:.1f} s for a dead broker"
