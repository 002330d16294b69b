"""Node.js for tests: the clients of front ends, at the versions that ``tests/integration/clients`` pins, and the pages
of ``docs/examples/chat``, built as its README says.

What a folder pins is installed once into ``.venvs``, without running a script of theirs. Node cannot be had from a
wheel, so where there is none, or no registry, its tests are reported as not run, in CI too.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from django_ais.conformance.servers import MissingServer

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / "tests" / "integration" / "clients"
CHAT = ROOT / "docs" / "examples" / "chat"
INSTALL_SECONDS = 100  # within the limit of a test
ANSWER_SECONDS = 30


def clients() -> Path:
    """A folder with the scripts and, beside them, the pinned clients. Raises `MissingServer`."""
    folder = _installed(CLIENTS, "node-clients")
    for script in CLIENTS.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def chat_pages() -> Path:
    """A folder with the scripts of the chat pages, built from the sources as they are. Raises `MissingServer`."""
    folder = _installed(CHAT, "node-chat")
    for name in ("src", "build"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(CHAT / "src", folder / "src")
    shutil.copy(CHAT / "package.json", folder)
    done = subprocess.run(["npm", "run", "build"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build"


def _installed(source: Path, name: str) -> Path:
    """A folder in ``.venvs`` with what the lock in a folder pins."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise MissingServer("There are no node and npm on this machine. Debian, Ubuntu: apt-get install nodejs npm.")
    wanted = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = ROOT / ".venvs" / name
    if not (folder / "done").exists() or (folder / "done").read_text() != wanted:
        _install(source, folder)
        (folder / "done").write_text(wanted)
    return folder


def _install(source: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    command += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000"]  # no registry is told soon
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise MissingServer(f"npm ci was not done in {INSTALL_SECONDS} s.") from None
    if done.returncode:
        raise MissingServer(f"npm ci failed: {done.stderr.strip()[-300:]}")


class Script:
    """A script of `CLIENTS` at work on a task, for the length of a ``with``. It tells what it sees, a line each."""

    def __init__(self, folder: Path, name: str, task: dict[str, Any]) -> None:
        self._command = ["node", name, json.dumps(task)]
        self._folder = folder
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.told: list[dict[str, Any]] = []

    def __enter__(self) -> Script:
        environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
        self._log = (self._folder / "node.log").open("wb+")
        self._process = subprocess.Popen(
            self._command, cwd=self._folder, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def until(self, question: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Read on until something told fits, and return it."""
        while (line := self._lines.get(timeout=ANSWER_SECONDS)) is not None:
            told: dict[str, Any] = json.loads(line)
            self.told.append(told)
            if question(told):
                return told
        self._log.seek(0)
        raise AssertionError(f"the script ended; it told {self.told[-5:]} and said {self._log.read().decode()[-2000:]}")

    def finish(self) -> dict[str, Any]:
        """Read to the end; the last thing told."""
        return self.until(lambda told: told.get("over"))
