"""The hot statements as the database plans them: each must find its rows by an index, however large the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4


def plans() -> Iterator[tuple[str, str]]:
    """Name and plan of each hot statement; what they write is rolled back."""
    from django.db import connection, transaction

    for name, run in _hot():
        with transaction.atomic():
            statements = _captured(run)
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(f"EXPLAIN {statement}")
                    yield name, "\n".join(row[0] for row in cursor.fetchall())
            transaction.set_rollback(True)


def _captured(run: Any) -> list[str]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        run()
    verbs = ("SELECT", "UPDATE", "INSERT", "DELETE", "WITH")
    return [query["sql"] for query in captured.captured_queries if query["sql"].startswith(verbs)]


def _hot() -> Iterator[tuple[str, Any]]:
    from django_ais.models import JobPacket
    from django_ais.runtime import overdue, reading, sql

    some = list(JobPacket.objects.values_list("id", flat=True)[:3])
    lease = {"owner": "x", "lease_seconds": 60.0, "workers": ["echo"], "most_deliveries": 2}
    yield "claim", lambda: sql.claim(some[0], **lease)
    yield "claim_due", lambda: sql.claim_due("default", limit=8, **lease)
    yield "renew", lambda: sql.renew(some, ["x"], 60.0)
    yield "write_fenced", lambda: sql.write_fenced(some[0], 1, "x", {"status": "succeeded"})
    yield "lock_jobs", lambda: sql.lock_jobs(some)
    yield "next_due", lambda: sql.next_due("default")
    yield "expired_leases", overdue.expired_leases
    yield "past_limits", overdue.past_limits
    yield "recorded_cascades", overdue.recorded_cascades
    yield "take_unannounced", lambda: overdue.take_unannounced(60.0)
    yield "next_announcement", overdue.next_announcement
    yield "page of events", lambda: reading.page(uuid4(), "", 0)
    yield "children", lambda: list(JobPacket.objects.filter(parent=some[0]))
    yield "jobs of a tenant", lambda: list(JobPacket.objects.for_tenant("acme").order_by("-created_at")[:50])
