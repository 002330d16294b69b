"""The private PostgreSQL starts, stops, dies and comes back with its data."""

from __future__ import annotations

import psycopg
import pytest

from django_ais.conformance.servers import PostgresServer, postgres_folder
from django_ais.conformance.servers.postgres import copy_postgres

pytestmark = pytest.mark.one_database("postgres")


def query(server: PostgresServer, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def test_committed_rows_survive_a_kill_and_a_restart(postgres_server):
    query(postgres_server, "CREATE TABLE kept AS SELECT 1 AS one")

    postgres_server.sigkill()
    with pytest.raises(psycopg.OperationalError):
        query(postgres_server, "SELECT 1")
    postgres_server.start()
    postgres_server.restart()

    assert query(postgres_server, "SELECT one FROM kept") == [(1,)]


def test_fsync_is_on_unless_an_option_turns_it_off(postgres_server):
    assert query(postgres_server, "SHOW fsync") == [("on",)]

    with PostgresServer(options={"fsync": "off"}) as careless:
        assert careless.port != postgres_server.port
        assert query(careless, "SHOW fsync") == [("off",)]
        pid = careless.pid
    with pytest.raises(psycopg.OperationalError):
        query(careless, "SELECT 1")
    assert pid > 0


def test_programs_in_a_private_folder_serve_root_too(postgres_server, tmp_path, monkeypatch):
    """pytest's folders are closed to others, as a home is: root starts the server as `nobody`, from a copy."""
    monkeypatch.setenv("AIS_POSTGRES_BIN", str(copy_postgres(postgres_folder(), tmp_path) / "bin"))

    with PostgresServer() as server:
        assert query(server, "SELECT 1") == [(1,)]
