"""What happened, told outside the system under test: an append-only file, one O_APPEND write a line.

A line is JSON: a ``word``, the ``pid`` that wrote it, its time, and whatever the writer knows. Lines of several
processes never mix, and their order in the file is the order in which they were written.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

PLACE = "AIS_TEST_LEDGER"  # the environment variable that tells worker processes where it is


class Ledger:
    """The file, to write to and to read from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def write(self, word: str, **facts: Any) -> None:
        """Append a line. It survives the death of the process right after."""
        line = {"word": word, "pid": os.getpid(), "time": time.monotonic(), **facts}
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, f"{json.dumps(line, default=str)}\n".encode())
        finally:
            os.close(file)

    def lines(self, word: str | None = None, **facts: Any) -> list[dict[str, Any]]:
        """The lines with this word and these facts, in order."""
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [
            line
            for line in found
            if word in (None, line["word"]) and all(line.get(key) == value for key, value in facts.items())
        ]


def here() -> Ledger:
    """The ledger that the environment names: for code that runs in a worker process."""
    return Ledger(Path(os.environ[PLACE]))
