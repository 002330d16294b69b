"""Whose a job is: the names of topics. (Who may look at what is decided here too, once there is a door to knock at.)"""

from __future__ import annotations

import hashlib
from uuid import UUID


def topic(tenant: str, run: UUID) -> str:
    """The bus address of a run.

    Hashed, so that it holds no character a broker treats as special, tells nothing about the tenant, and cannot be
    guessed from a run's id of another tenant.
    """
    digest = hashlib.sha256(f"{tenant}\0{run}".encode()).hexdigest()
    return f"ais-run-{digest[:40]}"
