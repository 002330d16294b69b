"""Drivers that worker processes of these tests load."""

from __future__ import annotations

from django_ais.backends.queue.celery import CeleryQueue
from django_ais.queues import Handler, Outcome, retry_in
from django_ais.runtime import runner


class Stumbling(CeleryQueue):
    """Its handler puts a message off, then breaks, then does its work."""

    @property
    def handler(self) -> Handler:
        return stumble


_calls: list[str] = []


def stumble(job_id: str) -> Outcome:
    _calls.append(job_id)
    if len(_calls) == 1:
        return retry_in(0.2)
    if len(_calls) == 2:
        return retry_in(1.0)
    return runner.handle(job_id)
