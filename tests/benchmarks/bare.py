"""The floor: a hand-written loop on PostgreSQL that makes the same commits and nothing else.

One INSERT, one claiming UPDATE and one finishing UPDATE a job, each its own transaction, over psycopg; ids go through a
table. No events, retries, recovery, heartbeat or API.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

THREADS = 8


def connect() -> Any:
    import psycopg

    port = os.environ["AIS_TEST_PG_PORT"]
    return psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="ais_test", autocommit=True)


def noop(count: int) -> dict[str, float]:
    """Insert ``count`` rows one by one while threads claim and finish them; jobs a second, microseconds an insert."""
    with connect() as connection:
        connection.execute("DROP TABLE IF EXISTS bare")
        connection.execute(
            "CREATE TABLE bare (id bigserial PRIMARY KEY, status text, payload jsonb, result jsonb, owner text)"
        )
        connection.execute("CREATE INDEX ON bare (id) WHERE status = 'queued'")
    stop = threading.Event()
    done = threading.Semaphore(0)
    threads = [threading.Thread(target=_work, args=(stop, done)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    begun = time.perf_counter()
    with connect() as connection:
        for number in range(count):
            connection.execute("INSERT INTO bare (status, payload) VALUES ('queued', %s)", (f'{{"n": {number}}}',))
    inserted = time.perf_counter() - begun
    for _ in range(count):
        done.acquire()
    seconds = time.perf_counter() - begun
    stop.set()
    for thread in threads:
        thread.join()
    return {"jobs/s": count / seconds, "dispatch us": inserted / count * 1e6}


def _work(stop: threading.Event, done: threading.Semaphore) -> None:
    with connect() as connection:
        while not stop.is_set():
            row = connection.execute(
                "UPDATE bare SET status = 'running', owner = 'me' WHERE id = (SELECT id FROM bare"
                " WHERE status = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
            ).fetchone()
            if row is None:
                time.sleep(0.002)
                continue
            connection.execute("UPDATE bare SET status = 'done', result = '{}' WHERE id = %s", row)
            done.release()


def steps(workflows: int, each: int) -> float:
    """One row a step, each committed: steps a second on one connection."""
    with connect() as connection:
        connection.execute("DROP TABLE IF EXISTS bare_step")
        connection.execute("CREATE TABLE bare_step (job bigint, key text, output jsonb, PRIMARY KEY (job, key))")
        begun = time.perf_counter()
        for job in range(workflows):
            for number in range(each):
                connection.execute("INSERT INTO bare_step VALUES (%s, %s, '{}')", (job, f"step-{number}"))
        return workflows * each / (time.perf_counter() - begun)
