"""Naive systems for the suite's faults: a driver or the core with one safeguard taken away. Each must lose something.

The driver and its engine are real; `blinded` are settings under which the core looks after nothing for an hour.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django_ais.conformance import QueueProfile
from django_ais.conformance.profiles import Celery
from django_ais.conformance.servers import RedisServer
from django_ais.queues import Outcome
from tests.conformance import mutants
from tests.conformance.honest import Spool, broken, profile_of

AN_HOUR = 3600.0


class Naive(QueueProfile):
    """A profile with settings of the core that the suite does not overrule."""

    blinded: ClassVar[dict[str, Any]] = {}


class AcknowledgesFirst(Naive):
    """A driver that acknowledges what it takes, and a core that waits an hour for worker processes that have died."""

    driver = "tests.conformance.mutants.AcknowledgesFirst"
    options = profile_of(mutants.AcknowledgesFirst).options
    blinded = {"SWEEP_SECONDS": AN_HOUR, "LEASE_SECONDS": AN_HOUR, "ANNOUNCE_AGAIN_SECONDS": AN_HOUR}


class HealedByTheCore(AcknowledgesFirst):
    """The same driver before the core as it is."""

    blinded = {}


class Forgetful(RedisServer):
    """Tells of being wiped."""

    def wipe(self) -> None:
        super().wipe()
        broken()


class TrustsItsBroker(Naive, Celery):
    """A core that announces a job once and leaves the rest to the broker for an hour."""

    servers = (Forgetful,)
    blinded = {"ANNOUNCE_AGAIN_SECONDS": AN_HOUR}


class AnnouncesAgain(TrustsItsBroker):
    """The same before the core as it is."""

    blinded = {}


class Unguarded(Spool):
    """Its handler lets each message have its job."""

    def __init__(self, *arguments: Any, **paths: Any) -> None:
        super().__init__(*arguments, **{**paths, "handler": f"{__name__}.take_anyhow"})


class BelievesEveryMessage(Naive):
    """A core whose claim of a job succeeds for every message."""

    driver = f"{__name__}.Unguarded"
    options = profile_of(Unguarded).options


def take_anyhow(job_id: str) -> Outcome:
    """The suite's handler, after whatever would keep the claim from succeeding was taken away."""
    from django.db import connection

    from django_ais.conformance.project import handling
    from django_ais.models import JobPacket
    from django_ais.runtime.database import job_ids

    open_again = "SET status = 'queued', lease_owner = '', lease_expires_at = NULL"
    with connection.cursor() as cursor:
        condition = "WHERE id = %s AND status <> 'queued'"
        cursor.execute(f"UPDATE {JobPacket._meta.db_table} {open_again} {condition}", job_ids([UUID(job_id)]))
        if cursor.rowcount:
            broken()
    return handling.handle(job_id)
