"""Forgetting: events of runs that finished long ago, and whole runs where that is asked for.

A job's own events (``job.*`` and ``run.*``) stay as long as the job. A pruned run says so by its counters'
``pruned_through``: readers accept holes up to that number, and only there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import F, Q, QuerySet

from django_ais.models import AgentEvent, JobCounters, JobPacket, JobStep
from django_ais.runtime import database
from django_ais.states import TERMINAL

RUNS_AT_ONCE = 100
KEPT = Q(type__startswith="job.") | Q(type__startswith="run.")


@dataclass
class Pruned:
    """What was, or would be, deleted."""

    runs: int = 0
    events: int = 0
    steps: int = 0
    jobs: int = 0


def prune_events(age: timedelta, *, dry_run: bool = False) -> Pruned:
    """Delete what runs said that finished longer ago than ``age``, run by run in small transactions."""
    done = Pruned()
    unpruned = _finished(age).filter(counters__pruned_through__lt=F("counters__last_seq"))
    for roots in _batches(unpruned, dry_run):
        events = AgentEvent.objects.using(database.database()).filter(root__in=roots).exclude(KEPT)
        done.runs += len(roots)
        done.events += events.count() if dry_run else database.transact(lambda: _forget_events(events, roots))  # noqa: B023
    return done


def _forget_events(events: QuerySet[AgentEvent], roots: list[UUID]) -> int:
    counters = JobCounters.objects.using(database.database()).filter(job_id__in=roots)
    counters.update(pruned_through=F("last_seq"))
    return events._raw_delete(database.database())


def prune_runs(age: timedelta, *, dry_run: bool = False) -> Pruned:
    """Delete whole runs that finished longer ago than ``age``: jobs, steps and events."""
    done = Pruned()
    for roots in _batches(_finished(age), dry_run):
        counted = _count(roots) if dry_run else database.transact(lambda: _forget_runs(roots))  # noqa: B023
        done.runs += len(roots)
        done.events += counted.events
        done.steps += counted.steps
        done.jobs += counted.jobs
    return done


def _finished(age: timedelta) -> QuerySet[JobPacket]:
    rows = JobPacket.objects.using(database.database()).filter(parent=None, status__in=TERMINAL)
    return rows.filter(finished_at__lt=database.moment() - age)


def _batches(rows: QuerySet[JobPacket], dry_run: bool) -> Iterator[list[UUID]]:
    """Ids, some at a time; what was handled is expected to leave the query, except in a dry run."""
    last: UUID | None = None
    while True:
        found = rows.order_by("id") if last is None else rows.filter(id__gt=last).order_by("id")
        roots = list(found.values_list("id", flat=True)[:RUNS_AT_ONCE])
        if not roots:
            return
        last = roots[-1]
        yield roots


def _parts(roots: list[UUID]) -> tuple[QuerySet[AgentEvent], QuerySet[JobStep], QuerySet[JobPacket]]:
    using = database.database()
    return (
        AgentEvent.objects.using(using).filter(root__in=roots),
        JobStep.objects.using(using).filter(job__root__in=roots),
        JobPacket.objects.using(using).filter(root__in=roots),
    )


def _count(roots: list[UUID]) -> Pruned:
    events, steps, jobs = _parts(roots)
    return Pruned(events=events.count(), steps=steps.count(), jobs=jobs.count())


def _forget_runs(roots: list[UUID]) -> Pruned:
    using = database.database()
    events, _, jobs = _parts(roots)
    ids = list(jobs.values_list("id", flat=True))
    steps = JobStep.objects.using(using).filter(job__in=ids)
    JobPacket.objects.using(using).filter(retry_of__in=ids)._machine_update(retry_of=None)
    JobCounters.objects.using(using).filter(job_id__in=ids)._raw_delete(using)
    return Pruned(
        events=events._raw_delete(using),
        steps=steps._raw_delete(using),
        jobs=JobPacket.objects.using(using).filter(id__in=ids)._raw_delete(using),
    )
