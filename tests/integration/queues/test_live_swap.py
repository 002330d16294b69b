"""The engine that carries the jobs is changed twice while they run: Celery, dramatiq, the database."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Q

from django_ais.conformance.servers import RedisServer
from django_ais.models import JobPacket
from tests.app.models import Effect
from tests.harness import invariants
from tests.harness.waiting import until
from tests.integration.queues.live_swap import workers  # noqa: F401 (dispatching a type needs its worker)
from tests.integration.queues.live_swap.deploying import (
    ITEMS,
    JOBS_OF_A_RUN,
    SECONDS,
    Engines,
    Web,
    releases,
    waiting_in_celery,
    waiting_in_dramatiq,
)

WORKFLOW = Path(__file__).with_name("live_swap") / "harvest.yaml"
SHARE = 0.1  # of all jobs: what each engine has to run at least, so that it was swapped under load

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database("postgres")]


@pytest.mark.parametrize(
    ("runs", "at_once", "each"),
    [
        pytest.param(12, 3, 1, id="240-jobs"),
        pytest.param(100, 12, 2, id="2000-jobs", marks=[pytest.mark.full, pytest.mark.timeout(900)]),
    ],
)
def test_the_engine_is_changed_twice_under_load(
    tmp_path: Path, settings: Any, redis_server: RedisServer, runs: int, at_once: int, each: int
) -> None:
    """Given runs that are dispatched all the time, when the setting of their queue goes from Celery to dramatiq to the
    database, worker processes of each come and go, some by SIGKILL, and the broker is wiped while messages wait, then
    no job is lost, none has its effect twice in the record, and no run's events have a hole.
    """
    call_command("import_workflow", str(WORKFLOW), stdout=StringIO())
    known = releases(redis_server.url)
    share = int(runs * JOBS_OF_A_RUN * SHARE)
    with Engines(tmp_path, known) as engines, Web(settings, known, runs=runs, at_once=at_once) as web:
        engines.await_ready(celery := engines.hire("celery", each + 1))
        begun = time.monotonic()
        web.deploy("celery", until_share=0.25)
        dramatiq = engines.hire("dramatiq", each)  # ready before anything is dispatched to it, as a site does it
        engines.await_more("celery", count=share)
        killed = [engines.kill_at_work(*celery)]

        engines.await_ready(dramatiq)
        web.deploy("dramatiq", until_share=0.65)
        web.start_one("celery")  # by a web process that is still to be replaced
        engines.await_more("celery", "dramatiq")
        engines.dismiss("celery")
        for _ in range(1 + runs // 20):
            web.start_one("celery")
        if each > 1:
            killed.append(engines.kill_at_work(*dramatiq))
        lost, messages = wipe(redis_server, engines)
        until(lambda: have_ended(lost), what="what was lost with the broker", seconds=SECONDS)

        engines.await_ready(database := engines.hire("database", each))
        web.deploy("database", until_share=1)
        if each > 1:
            killed.append(engines.kill_at_work(*database))
        engines.await_more("database")
        engines.dismiss("dramatiq")
        until(lambda: web.is_done and invariants.all_have_ended(), what="all runs", seconds=SECONDS)
        seconds = time.monotonic() - begun
        engines.dismiss("database")

    ran, jobs = engines.ran(), {job for job, _ in engines.attempts()}
    print(
        f"{runs * JOBS_OF_A_RUN} jobs in {seconds:.1f} s; attempts {dict(ran)}; {len(killed)} processes killed; "
        f"{messages} messages lost with the broker, {len(lost)} jobs of them in Celery's queue; "
        f"{len(engines.attempts()) - len(jobs)} executions above one"
    )
    assert len(jobs) == runs * JOBS_OF_A_RUN
    assert min(ran[engine] for engine in known) >= share
    assert {engine for job in members(lost) for engine in engines.ran_by(job)} == {"dramatiq"}
    assert all(len(engines.ran_by(job)) > 1 for job in killed)
    assert not (found := violations(web.started, engines)), "\n".join(found)


def wipe(server: RedisServer, engines: Engines) -> tuple[list[str], int]:
    """Let the broker lose everything: the jobs that waited in Celery's queue and were never begun, and the number of
    all messages.
    """
    waiting, others = waiting_in_celery(server.url), waiting_in_dramatiq(server.url)
    server.wipe()
    lost = [job for job in dict.fromkeys(waiting) if not engines.ran_by(job)]
    assert lost
    return lost, len(waiting) + others


def have_ended(ids: list[str]) -> bool:
    """Whether none of these jobs is open any more."""
    return not JobPacket.objects.open().filter(id__in=ids).exists()


def members(ids: list[str]) -> list[str]:
    """These jobs, and all jobs of those that are runs."""
    found = JobPacket.objects.filter(Q(id__in=ids) | Q(root__in=ids)).values_list("id", flat=True)
    return [str(job) for job in found]


def violations(runs: list[JobPacket], engines: Engines) -> list[str]:
    """A sentence for each promise that was broken."""
    checks = (
        invariants.lost({run.id: "succeeded" for run in runs}),
        invariants.numbering(),
        invariants.after_the_end(),
        invariants.orphans(),
        invariants.leases_left(),
        effects(engines),
        results(runs),
    )
    return [sentence for check in checks for sentence in check]


def effects(engines: Engines) -> Iterator[str]:
    """Every job has one row; nobody told of a second one that was committed."""
    rows = Counter(Effect.objects.values_list("job_id", flat=True))
    told = Counter(line["job"] for line in engines.ledger.lines("effect"))
    jobs = {job for job, _ in engines.attempts()}
    for job in jobs | rows.keys() | told.keys():
        if rows[job] != 1 or told[job] > 1 or job not in jobs:
            yield f"effects: job {job} has {rows[job]} rows and told of {told[job]}"


def results(runs: list[JobPacket]) -> Iterator[str]:
    """A run's result is what its items have recorded, each once and in their order."""
    for run in runs:
        items = JobPacket.objects.filter(root=run, type="swap.item", item__isnull=False).order_by("item")
        said: list[Any] = list(items.values_list("result", flat=True))
        result = JobPacket.objects.get(id=run.id).result
        if result != said or [item for item, _ in said] != list(range(ITEMS)):
            yield f"results: run {run.id} came to {result}, its items to {said}"
