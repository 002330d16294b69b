"""``demo.py --serve`` as a child process, for tests."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness.node import ROOT

DEMO = ROOT / "docs" / "examples" / "document_intake" / "demo.py"
SUMMARIES = """
    SELECT page.document_id, summary.text FROM document_intake_summary summary
    JOIN document_intake_page page ON page.id = summary.page_id ORDER BY page.id
"""


class Served:
    """A demo that serves, in a folder of its own, for the length of a ``with``; of these documents, or its own three.

    ``pages``: the chat pages, as built. ``more`` goes into its environment.
    """

    def __init__(self, folder: Path, *documents: Path, pace: float, pages: Path | None = None, **more: str) -> None:
        self.folder = folder / "kept"
        given = {key: value for key, value in os.environ.items() if not key.startswith(("AIS_", "DJANGO_"))}
        self._process = subprocess.Popen(
            [sys.executable, str(DEMO), *map(str, documents), "--serve", "--port", "0", "--keep", str(self.folder)],
            env={
                **given,
                "INTAKE_WORD_SECONDS": str(pace),
                "INTAKE_CHAT_BUILD": str(pages or folder / "nothing"),
                **more,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Served:
        self.link = self.line(r"\s+(http://127\.0\.0\.1:\d+/sign-in/.+/)")[0]
        self.site = self.link.partition("/sign-in/")[0]
        self.worker, self.server = map(int, self.line(r"Jobs run in worker process (\d+), .* server process (\d+)\."))
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def line(self, pattern: str) -> tuple[str, ...]:
        """Wait for a line that it prints, and return the pattern's groups."""
        printed = []
        for line in self._process.stdout or ():
            printed.append(line)
            if found := re.match(pattern, line):
                return found.groups()
        raise AssertionError(f"{pattern} was not printed:\n{''.join(printed)}")

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C, as a terminal sends it: to every process. The exit code, and what was printed since."""
        os.killpg(self._process.pid, signal.SIGINT)
        printed, _ = self._process.communicate()
        return self._process.returncode, printed

    def restart_server(self) -> None:
        """End the server process as a deployment would, and wait for the next."""
        os.kill(self.server, signal.SIGTERM)
        (pid,) = self.line(rf">>> server process {self.server} ended .*; process (\d+) has its place")
        self.server = int(pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def query(self, text: str) -> list[Any]:
        """Rows of its database."""
        connection = sqlite3.connect(self.folder / "intake.sqlite3")
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()

    def summaries(self) -> list[list[str]]:
        """The texts of the application's rows, in the order of the pages: a list for each run, oldest first."""
        found = self.query(SUMMARIES)
        runs = self.query("SELECT payload FROM django_ais_jobpacket WHERE parent_id IS NULL ORDER BY id")
        taken = [json.loads(payload)["documents"] for (payload,) in runs]
        return [[text for document, text in found if document in documents] for documents in taken]
