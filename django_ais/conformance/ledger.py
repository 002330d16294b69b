"""What happened, told outside the system under test: an append-only file, one O_APPEND write a line.

A line is JSON: a ``word``, the ``pid`` that wrote it, its ``time`` (monotonic, the machine's), and whatever the writer
knows. Lines of several processes never mix, and their order in the file is the order in which they were written.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

PLACE = "AIS_CONFORMANCE_DIR"  # the environment variable that names the folder of the ledger and of the orders


class Ledger:
    """The file, to write to and to read from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._known: list[dict[str, Any]] = []

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
        self._read_on()
        return [
            line
            for line in self._known
            if word in (None, line["word"]) and all(line.get(key) == value for key, value in facts.items())
        ]

    def _read_on(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]  # a reader may see a line before all of it is there
        self._read += len(new)
        self._known += [json.loads(line) for line in new.splitlines()]


def folder() -> Path:
    """Where the suite and its worker processes meet."""
    return Path(os.environ[PLACE])


def here() -> Ledger:
    """The ledger that the environment names: for code that runs in a worker process."""
    return Ledger(folder() / "ledger")
