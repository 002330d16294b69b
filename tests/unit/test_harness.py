"""The test harness keeps its own promises."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from django.db import connection

from tests.app.models import Effect


def test_a_connection_that_leaves_the_machine_is_refused():
    with socket.socket() as out, pytest.raises(RuntimeError, match=r"may not connect to 192\.0\.2\.1"):
        out.connect(("192.0.2.1", 80))


@pytest.mark.django_db(transaction=True)
def test_a_child_process_works_on_the_tables_of_its_test():
    code = "import django; django.setup(); from tests.app.models import Effect; Effect.objects.create(name='child')"

    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)

    assert Effect.objects.get().name == "child"


def test_the_database_is_the_one_that_was_asked_for():
    wanted = {"sqlite": "sqlite", "postgres": "postgresql"}
    assert connection.vendor == wanted[os.environ.get("AIS_TEST_DB", "sqlite")]
