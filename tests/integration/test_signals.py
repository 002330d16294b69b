"""Signals: sent after commit, for whoever listens; a receiver that raises changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from django_ais import jobs, signals
from django_ais.models import JobPacket
from tests.app.behaviour_workers import worker_of

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = [name for name in vars(signals) if name.startswith(("job_", "run_"))]


@pytest.fixture
def heard(settings: Any) -> Any:
    """What was sent, in order: the signal's name and the job's status as committed."""
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "immediate"}}
    said: list[tuple[str, str]] = []
    receivers = []
    for name in NAMES:

        def receive(sender: Any, job: JobPacket, name: str = name, **_: Any) -> None:
            said.append((name, JobPacket.objects.get(id=job.id).status))

        getattr(signals, name).connect(receive)
        receivers.append((name, receive))
    yield said
    for name, receive in receivers:
        getattr(signals, name).disconnect(receive)


def test_a_job_that_succeeds(heard: Any) -> None:
    """Given a job, its signals follow its life, each after its commit."""
    jobs.dispatch("echo", 1)
    names = [name for name, _ in heard]
    assert sorted(names) == ["job_queued", "job_started", "job_succeeded", "run_finished"]
    assert ("job_started", "running") in heard
    assert ("job_succeeded", "succeeded") in heard


def test_a_job_that_is_tried_again_and_fails(heard: Any) -> None:
    """Given a failing job with one retry, the retry and the failure are told."""

    def fail(job: Any) -> None:
        raise ValueError("no")

    jobs.dispatch("fails", 1, worker=worker_of(fail), config={"max_retries": 1, "backoff": {"first": 0}})
    names = [name for name, _ in heard]
    assert names.count("job_retried") == 1
    assert names.count("job_failed") == 1


def test_a_job_that_waits_for_children(heard: Any) -> None:
    """Given a job with children, its suspension is told, and each child's beginning."""
    jobs.dispatch("kit.parent", 1, worker=_parent())
    names = [name for name, _ in heard]
    assert names.count("job_suspended") == 1
    assert names.count("job_queued") == 3  # the job, its child, and the job again
    assert names.count("run_finished") == 1


def _parent() -> str:
    return worker_of(lambda job: job.dispatch("echo", 1) and None)


def test_a_receiver_that_raises_changes_nothing(heard: Any) -> None:
    """Given a receiver that raises, the job succeeds all the same."""

    def broken(**_: Any) -> None:
        raise RuntimeError("receiver")

    signals.job_succeeded.connect(broken)
    try:
        assert jobs.get(jobs.dispatch("echo", 1)).status == "succeeded"
    finally:
        signals.job_succeeded.disconnect(broken)
