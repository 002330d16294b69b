"""Connections of the threads that run jobs, when somebody else closes what is at rest."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from django_ais.models import JobPacket
from django_ais.runtime import links

pytestmark = pytest.mark.django_db(transaction=True)


def close_from_elsewhere() -> None:
    thread = threading.Thread(target=links.close_kept)
    thread.start()
    thread.join()


def test_a_connection_in_use_is_left_alone_and_one_at_rest_is_closed():
    """Given a thread in a job, when the process's connections are closed, then its own is closed only after the job.

    SQLite ends the whole process when a connection is closed under a statement.
    """
    JobPacket.objects.exists()
    links.tidy(at_rest=True)
    links.tidy(at_rest=False)
    close_from_elsewhere()
    assert connection.connection is not None

    links.tidy(at_rest=True)
    close_from_elsewhere()
    assert connection.connection is None
