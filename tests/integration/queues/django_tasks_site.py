"""A site that uses django-tasks-db, in a process of its own: the test's settings do not have that app.

``python -m tests.integration.queues.django_tasks_site VERB [ARGUMENT]`` answers in JSON.
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

import django


def prepare() -> None:
    """Make the tables of django-tasks-db in the test's database."""
    from django.core.management import call_command

    call_command("migrate", "django_tasks_database", verbosity=0)


def dispatch(type: str, payloads: str) -> list[str]:
    """Dispatch jobs; their ids."""
    from django_ais import jobs

    return [str(job.id) for job in jobs.dispatch_many(type, json.loads(payloads))]


def dispatch_later(type: str, seconds: str) -> str:
    """Dispatch a job that is due in some seconds."""
    from datetime import timedelta

    from django.utils import timezone

    from django_ais import jobs

    return str(jobs.dispatch(type, run_after=timezone.now() + timedelta(seconds=float(seconds)), priority=5).id)


def dispatch_twice(type: str, payloads: str) -> list[str]:
    """Dispatch jobs and send a second message for each."""
    from django_ais import registry
    from django_ais.queues import QueueMessage

    made = dispatch(type, payloads)
    registry.queues["default"].enqueue(
        [QueueMessage(job_id=job, dispatch_id=f"{job}-{secrets.token_hex(4)}") for job in made]
    )
    return made


VERBS: dict[str, Any] = {verb.__name__: verb for verb in (prepare, dispatch, dispatch_twice, dispatch_later)}

if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(VERBS[sys.argv[1]](*sys.argv[2:])))
