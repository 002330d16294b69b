"""The database server itself is killed under running jobs and comes back: what it had accepted is finished, once."""

from __future__ import annotations

import os

import psycopg
import pytest

from django_ais.conformance.servers import PostgresServer
from tests.harness.workers import Crew, Fault, WorkerProcess

pytestmark = pytest.mark.skipif(
    os.environ.get("AIS_TEST_DB") != "postgres", reason="a fault of a database server; SQLite has none"
)

OPEN = "SELECT count(*) FROM django_ais_jobpacket WHERE status IN ('queued', 'running', 'suspended')"
MANY = pytest.param(60, 6, marks=[pytest.mark.full, pytest.mark.timeout(600)])


def query(server: PostgresServer, text: str, *, database: str = "ais_test") -> list[tuple[object, ...]]:
    place = f"host=127.0.0.1 port={server.port} user=postgres dbname={database}"
    with psycopg.connect(place, autocommit=True) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize(("count", "kills"), [(8, 1), MANY])
def test_jobs_outlive_a_database_server_that_is_killed(postgres_server, tmp_path, count, kills):
    """Worker processes meet the outage in the middle of their jobs, and are replaced if they do not survive it."""
    query(postgres_server, "CREATE DATABASE ais_test", database="postgres")
    place = {"AIS_TEST_DB": "postgres", "AIS_TEST_PG_PORT": str(postgres_server.port)}

    def crash_server(_: list[WorkerProcess]) -> None:
        postgres_server.sigkill()
        postgres_server.start()

    faults = [Fault(10 + count * 5 * number // kills, crash_server) for number in range(kills)]
    with Crew(tmp_path, **place) as crew:
        crew.elsewhere("prepare")
        crew.elsewhere("dispatch", str(count))
        crew.keep_alive(2, until_true=lambda: query(postgres_server, OPEN) == [(0,)], faults=faults)

        above_one = crew.elsewhere("check", str(count))
        hired = len(crew.workers) - 3
    print(f"{kills} outages, {hired} worker processes replaced, executions above one: {above_one}")
    assert above_one > 0
