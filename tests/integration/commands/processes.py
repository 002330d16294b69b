"""Management commands as child processes of a test, and the gate at which their jobs wait."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 30  # a loaded machine needs long to start a process


class Gate:
    """Where jobs of the type ``gated`` wait: two named pipes, held open so that opening an end never blocks."""

    def __init__(self, folder: Path) -> None:
        self.payload = {"entered": str(folder / "entered"), "gate": str(folder / "gate")}
        self._pipes = {}
        for name, path in self.payload.items():
            os.mkfifo(path)
            self._pipes[name] = os.open(path, os.O_RDWR)

    def await_entered(self) -> None:
        """Return when a job stands at the gate."""
        readable, _, _ = select.select([self._pipes["entered"]], [], [], SECONDS)
        assert readable, f"no job came to the gate within {SECONDS} s"
        assert os.read(self._pipes["entered"], 100) == b"entered\n"

    def open(self) -> None:
        """Let one job through."""
        os.write(self._pipes["gate"], b"\n")

    def close(self) -> None:
        for pipe in self._pipes.values():
            os.close(pipe)


class CommandProcess:
    """``manage.py COMMAND ARGUMENTS`` in a process of its own, on this test's database. Killed at the end of a with."""

    def __init__(self, *arguments: str, settings: Mapping[str, Any], **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "tests.integration.commands.settings",
                "AIS_TEST_SETTINGS": json.dumps(settings),
                "PYTHONUNBUFFERED": "1",
                **environment,
            },
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def hear(self, word: str) -> str:
        """The next line that holds a word."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)
            if word in line:
                return line
        raise AssertionError(f"it ended without saying {word!r}:\n{''.join(self.said)}")

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait until it has ended by itself; the exit code, and all that it said."""
        rest, _ = self._process.communicate(timeout=SECONDS)
        self.said.append(rest)
        return self._process.returncode, "".join(self.said)

    def __enter__(self) -> CommandProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        if error is not None:
            print(f"--- process {self.pid}\n{''.join(self.said)}")
