"""Whether a job costs the same among a thousand rows and among a million, and whether hot queries use their indexes."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.measuring import Site, Table, one
from tests.benchmarks.noop import measure
from tests.benchmarks.plans import plans

ROWS = (1_000, 100_000, 1_000_000)
JOBS = 300

FILL = """
INSERT INTO django_ais_jobpacket (id, type, worker, status, phase, config, root_id, depth, tenant, queue, priority,
    run_after, announcements, attempt, retries, deliveries, lease_owner, lease_epoch, traceparent,
    input_tokens, output_tokens, cost, created_at, finished_at)
SELECT u, 'echo', 'echo', 'succeeded', 'run', '{}', u, 0, '', 'default', 0,
    now(), 0, 1, 0, 0, '', 1, '', 0, 0, 0, now(), now()
FROM (SELECT gen_random_uuid() AS u FROM generate_series(1, %s)) ids
"""


def run(site: Site) -> None:
    """No-op jobs while the table grows; then the plans of the hot statements."""
    if site.postmaster is None:
        return
    from django.db import connection

    table = Table("growth")
    first: dict[str, Any] = {}
    with site.workers() as workers:
        for rows in ROWS:
            wanted = site.count(rows)
            there = int(one("SELECT count(*) FROM django_ais_jobpacket"))
            with connection.cursor() as cursor:
                cursor.execute(FILL, [max(wanted - there, 0)])
                cursor.execute("ANALYZE")
            figures = measure(site, table, f"among {wanted:,} rows", site.count(JOBS), workers)
            first = first or figures
        table.add("last against first", **{"CPU us/job": figures["CPU us/job"] / first["CPU us/job"]})
    _plans(table)


def _plans(table: Table) -> None:
    for name, plan in plans():
        scans = [line.strip() for line in plan.splitlines() if "Seq Scan on django_ais_jobpacket" in line]
        table.add(f"plan of {name}", reads=f"A WHOLE TABLE: {scans[0]}" if scans else "an index")
