"""Announcing: after the commit, in one go, exactly what was committed; what a queue did not take is announced again."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from django.db import transaction

from django_ais import jobs, registry
from django_ais.exceptions import PartialEnqueueError, QueueError
from django_ais.models import AgentEvent, JobPacket
from django_ais.runtime import database, overdue, relay
from tests.harness.attempts import by_hand, fresh  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("by_hand")]

DISPATCHES = 1_000  # of 10,000, for time: the driver is called once for each 500


class Oops(Exception):
    """What an application raises in the middle."""


@pytest.fixture
def rung(monkeypatch):
    """The ids that the queue's driver was handed, a list for each call."""
    calls: list[list[str]] = []
    queue = registry.queues["default"]
    monkeypatch.setattr(
        queue, "_enqueue", lambda messages, *, timeout: calls.append([message.job_id for message in messages])
    )
    return calls


def announced(rung):
    return sorted(job_id for call in rung for job_id in call)


def stored():
    return sorted(str(job_id) for job_id in JobPacket.objects.values_list("id", flat=True))


def test_many_dispatches_in_one_block_are_few_calls_of_the_driver(rung):
    """A thousand calls of `dispatch` in one transaction: two of the driver (so twenty for ten thousand)."""
    with transaction.atomic():
        for number in range(DISPATCHES):
            jobs.dispatch("echo", number)
        assert rung == []

    assert [len(call) for call in rung] == [500, 500]
    assert announced(rung) == stored()


def test_a_rolled_back_savepoint_takes_its_own_announcements_with_it_and_no_others(rung):
    """Jobs before, inside and after a savepoint that is rolled back: those outside are announced, once."""
    with transaction.atomic():
        before = jobs.dispatch("echo", "before")
        with suppress(Oops), transaction.atomic():
            jobs.dispatch("echo", "inside")
            raise Oops
        after = jobs.dispatch("echo", "after")

    assert announced(rung) == sorted([str(before.id), str(after.id)]) == stored()


def test_jobs_first_dispatched_in_a_rolled_back_savepoint_silence_nobody(rung):
    """The block's first dispatch lies in the savepoint: those that follow it outside are announced all the same."""
    with transaction.atomic():
        with suppress(Oops), transaction.atomic():
            jobs.dispatch("echo", "inside")
            raise Oops
        jobs.dispatch("echo", "after")

    assert len(announced(rung)) == 1
    assert announced(rung) == stored()


def test_a_rollback_announces_nothing_and_leaves_nothing(rung):
    """A job exists if and only if the caller's transaction commits."""
    with suppress(Oops), transaction.atomic():
        jobs.dispatch("echo")
        jobs.dispatch_many("echo", [1, 2, 3])
        raise Oops

    assert rung == []
    assert stored() == []
    assert not AgentEvent.objects.exists()


def test_the_transaction_after_a_rolled_back_one_announces_its_own(rung):
    """Nothing of a dead batch is kept for later."""
    with suppress(Oops), transaction.atomic():
        jobs.dispatch("echo")
        raise Oops
    with transaction.atomic():
        jobs.dispatch("echo")
    with transaction.atomic():
        jobs.dispatch("echo")

    assert [len(call) for call in rung] == [1, 1]
    assert announced(rung) == stored()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_savepoints_exactly_what_is_committed_is_announced(rung, seed):
    """Random trees of savepoints, some rolled back, some marked for it, dispatching before, between and after."""
    dice = random.Random(seed)

    def block(depth):
        for _ in range(dice.randint(1, 3)):
            jobs.dispatch("echo", depth)
            if depth < 4 and dice.random() < 0.7:
                with suppress(Oops), transaction.atomic(savepoint=depth == 0 or dice.random() < 0.8):
                    block(depth + 1)
            if depth and dice.random() < 0.2:
                raise Oops

    with suppress(Oops, transaction.TransactionManagementError), transaction.atomic():
        block(0)

    assert announced(rung) == stored()


def test_without_a_transaction_it_is_announced_at_once(rung):
    """In autocommit each dispatch rings by itself."""
    first = jobs.dispatch("echo")
    assert announced(rung) == [str(first.id)]

    jobs.dispatch_many("echo", range(5))
    assert [len(call) for call in rung] == [1, 5]


def test_what_the_queue_did_not_take_is_announced_by_the_next_sweep(rung, monkeypatch):
    """The dispatch stands although the broker took a part; the sweep rings for it, and not for what was taken."""

    def takes_only_the_first(messages, *, timeout):
        accepted, *failed = [message.dispatch_id for message in messages]
        raise PartialEnqueueError("full", accepted=[accepted], failed=failed)

    with monkeypatch.context() as patch:
        patch.setattr(registry.queues["default"], "_enqueue", takes_only_the_first)
        taken, *left = jobs.dispatch_many("echo", [1, 2, 3])
    assert rung == []

    assert relay.sweep() == 2
    assert announced(rung) == sorted(str(job.id) for job in left)
    assert fresh(taken).announcements == 0
    assert relay.sweep() == 0


def test_a_broker_that_is_down_stops_no_caller(rung, monkeypatch):
    """Neither a dispatch nor the transaction around it hears of it; every job is announced when it is back."""

    def down(messages, *, timeout):
        raise QueueError("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(registry.queues["default"], "_enqueue", down)
        with transaction.atomic():
            jobs.dispatch("echo")
        jobs.dispatch("echo")
    assert len(stored()) == 2

    relay.sweep()
    assert announced(rung) == stored()


def test_an_engine_that_stays_away_is_not_asked_without_pause_and_costs_no_announcement(rung, monkeypatch):
    """Given an engine that is down, when sweeps find it so, then the next try is seconds away, and counts as the first.

    Without the pause the sweep would come round twenty times a second for as long as the engine is away.
    """

    def down(messages, *, timeout):
        raise QueueError("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(registry.queues["default"], "_enqueue", down)
        job = jobs.dispatch("echo")
        assert relay.sweep() == 1

    assert relay.sweep() == 0
    assert (fresh(job).announce_at - database.moment()).total_seconds() > 1
    assert fresh(job).announcements == 0
    assert rung == []


def test_a_job_that_nobody_claims_is_announced_again_at_doubling_intervals(rung):
    """A lost message is found again: after a minute, then two, four, ... up to an hour."""
    job = jobs.dispatch("echo")
    waits = []
    for _ in range(8):
        overdue.announce_now([job.id])
        relay.sweep()
        waits.append((fresh(job).announce_at - database.moment()).total_seconds())

    assert [round(wait / 60) for wait in waits] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(rung) == 9
