"""An append-only file beside the database: one line for each call that was executed and each effect that was committed.

It is the outside world's view. Lines are written with one ``O_APPEND`` write each, so that several processes, and one
that is killed, cannot tear them.
"""

import os
from typing import NamedTuple

from django.conf import settings


class Entry(NamedTuple):
    """A line: ``call``, ``refused`` or ``effect``; what it was about; the process that wrote it."""

    kind: str
    key: str
    process: int


def note(kind: str, key: str) -> None:
    """Add a line."""
    file = os.open(settings.INTAKE_LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{kind} {key} {os.getpid()}\n".encode())
    finally:
        os.close(file)


def entries() -> list[Entry]:
    """Everything noted so far, in order."""
    if not settings.INTAKE_LEDGER.exists():
        return []
    lines = settings.INTAKE_LEDGER.read_text(encoding="utf-8").splitlines()
    parts = [line.split(" ") for line in lines]
    return [Entry(kind, key, int(process)) for kind, key, process in parts]
