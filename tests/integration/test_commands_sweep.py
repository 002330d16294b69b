"""`ais_sweep`: one round, and how many jobs it was about."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from django_ais import jobs
from django_ais.models import JobPacket
from django_ais.runtime import lifecycle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quick(settings):
    """A queue that nobody consumes, leases that end at once, and announcements that are repeated at once."""
    settings.DJANGO_AIS = {
        **settings.DJANGO_AIS,
        "QUEUES": {"default": "database"},
        "LEASE_SECONDS": 0.000001,
        "ANNOUNCE_AGAIN_SECONDS": 3600,
    }


def sweep():
    out = StringIO()
    call_command("ais_sweep", stdout=out)
    return out.getvalue()


def test_a_sweep_queues_the_job_of_a_dead_worker_process_again(quick):
    """Given a claimed job whose lease has run out, when the sweep runs, then the job is queued and counted."""
    job = jobs.dispatch("echo")
    lifecycle.claim(job.id, alone=True)

    assert sweep() == "The sweep acted on 1 job.\n"
    assert jobs.get(job).status == "queued"


def test_a_sweep_with_nothing_to_do_says_so(quick):
    """Given a job that was announced a moment ago, when the sweep runs, then it leaves it alone."""
    job = jobs.dispatch("echo")

    assert sweep() == "The sweep acted on 0 jobs.\n"
    assert jobs.get(job).announcements == 0


def test_a_sweep_without_a_database_is_an_error(monkeypatch):
    """Given a database that does not answer, when the sweep is asked for, then the command fails and says why."""

    def gone(*arguments):
        raise OperationalError("connection refused")

    monkeypatch.setattr(JobPacket.objects, "using", gone)

    with pytest.raises(CommandError, match="connection refused"):
        sweep()
