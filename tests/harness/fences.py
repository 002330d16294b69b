"""Watch, inside a worker process, each write that a lease has to allow; and take away the process's own caution.

A stale process usually stops by itself: its clock tells it that the lease is over, its heartbeat that the job belongs
to somebody else. `deafen` removes both, so that every write goes as far as the database and only the fence in its
statement is left to refuse it.
"""

from __future__ import annotations

import time
from typing import Any

from tests.harness import ledger

WATCHED = "AIS_TEST_WATCH_FENCES"
DEAF = "AIS_TEST_DEAF"


def watch() -> None:
    """Put a line into the ledger for each fenced write: whose it was, when it was begun, and whether it landed."""
    from django_ais.runtime import combined, flushing, sql

    book = ledger.here()

    def told(what: str, fenced: Any) -> Any:
        def write(job_id: Any, epoch: int, owner: str, *rest: Any, **more: Any) -> Any:
            begun = time.monotonic()
            answer = fenced(job_id, epoch, owner, *rest, **more)
            landed = answer[0] if isinstance(answer, tuple) else answer
            book.write("fenced", what=what, job=job_id, epoch=epoch, begun=begun, landed=bool(landed))
            return answer

        return write

    fenced = {sql: ("write_fenced", "hold_fenced"), combined: ("record_step", "settle_alone", "settle_child")}
    for module, names in fenced.items():
        for name in names:
            setattr(module, name, told(name, getattr(module, name)))
    write_valid: Any = flushing._write_valid

    def flush(taken: Any) -> Any:
        begun = time.monotonic()
        found = write_valid(taken)
        for buffer, _ in taken:
            lease = buffer.lease
            landed = found.get(lease.job_id) == (lease.epoch, lease.owner, "running")
            book.write("fenced", what="flush", job=lease.job_id, epoch=lease.epoch, begun=begun, landed=landed)
        return found

    flushing._write_valid = flush


def deafen() -> None:
    """Let no lease of this process ever learn that it is lost."""
    from django_ais.runtime.leases import Lease

    Lease.check = lambda self: None  # type: ignore[method-assign]
    Lease.end = lambda self, error: None  # type: ignore[method-assign]
