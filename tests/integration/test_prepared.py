"""Hot statements are bound and prepared by PostgreSQL where nothing stands in the way, and nobody notices."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.utils import IntegrityError
from django.test.utils import CaptureQueriesContext

from django_ais import jobs
from django_ais.models import JobPacket
from django_ais.runtime import database, statements
from django_ais.runtime.runner import handle
from tests.harness.attempts import NOBODY_TAKES
from tests.harness.interleave import needs_row_locks

pytestmark = [pytest.mark.django_db(transaction=True), needs_row_locks]


@pytest.fixture(autouse=True)
def by_hand(settings):
    """Nobody takes a job but the test; a connection that has prepared nothing yet."""
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, **NOBODY_TAKES}
    connection.close()
    yield
    connection.close()


def prepared() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [row[0] for row in cursor.fetchall()]


def run_jobs(count: int) -> list[JobPacket]:
    rows = [jobs.dispatch("echo", number) for number in range(count)]
    for row in rows:
        handle(str(row.id))
    return [jobs.get(row) for row in rows]


def test_creating_claiming_and_settling_are_prepared():
    """Given three jobs that have run, when the connection is asked, then it knows the three hot statements."""
    assert [row.result for row in run_jobs(3)] == [0, 1, 2]

    assert sum("INSERT INTO" in text for text in prepared()) >= 2
    assert any("deliveries <" in text for text in prepared())


def test_nothing_is_prepared_behind_a_pool_in_transaction_mode(monkeypatch):
    """Given Django's mark for such a pool, when jobs run, then no statement is left on the connection."""
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)

    assert all(row.status == "succeeded" for row in run_jobs(3))

    assert prepared() == []


def test_nothing_is_prepared_where_the_options_say_so(monkeypatch):
    """Given ``prepare_threshold`` None in the OPTIONS, when jobs run, then no statement is left on the connection."""
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "prepare_threshold", None)

    assert all(row.status == "succeeded" for row in run_jobs(3))

    assert prepared() == []


def test_the_applications_own_statements_are_not_prepared():
    """Given a connection of ours, when the application runs its own query often, then that is as Django does it."""
    run_jobs(1)

    for _ in range(10):
        list(JobPacket.objects.filter(type="mine"))

    assert not any("mine" in text for text in prepared())


def test_who_watches_queries_sees_ours():
    """Given somebody who captures queries, when a job is dispatched, then its INSERT is among them."""
    with CaptureQueriesContext(connection) as captured:
        jobs.dispatch("echo", 1)

    assert any("INSERT INTO" in query["sql"] for query in captured)


def test_a_column_that_comes_with_a_deploy_disturbs_nobody():
    """Given prepared statements, when a migration adds a column, then this old process goes on claiming."""
    run_jobs(3)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_ais_jobpacket ADD COLUMN later integer DEFAULT 0")
    try:
        rows = run_jobs(3)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_ais_jobpacket DROP COLUMN later")

    assert [row.status for row in rows] == ["succeeded"] * 3


def test_an_error_is_djangos():
    """Given a row that exists, when it is inserted again, then that is Django's IntegrityError."""
    row = run_jobs(1)[0]
    again = f"INSERT INTO {database.table(JobPacket)} SELECT * FROM {database.table(JobPacket)} WHERE id = %s"

    with pytest.raises(IntegrityError):
        statements.run(connection, again, [row.id])
