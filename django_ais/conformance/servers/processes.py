"""What all private servers share: a folder, a port, a child process, and the ways to hurt it."""

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
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Self

PORTS = range(21_000, 22_000)  # below the ports that systems hand out by themselves
START_SECONDS = 30
STOP_SECONDS = 10


class MissingServer(RuntimeError):
    """No usable server program on this machine. The message says what to install."""


def in_ci() -> bool:
    """A missing server is an error in CI; on a laptop its tests are reported as not run."""
    return os.environ.get("CI", "").lower() in ("1", "true")


class Server:
    """A server in a temporary folder, on a free port of 127.0.0.1, for the length of a ``with``. To write: `_command`.

    A direct child in a session of its own; it is ended by its process id, whatever happens.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        self.port = 0
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = stack.enter_context(open_folder(f"ais-{self.name.lower()}-"))
            self._find(stack)
            self.port = stack.enter_context(free_port())
            self._prepare(stack)
            stack.callback(self.stop)
            self.start()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._cleanup.close()

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._running().pid

    @property
    def version(self) -> str:
        """What the program says of itself."""
        return ".".join(map(str, version_of(Path(self._command()[0])))) or "unknown"

    @property
    def log(self) -> str:
        """What the server printed so far."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start and wait until the server takes connections."""
        self._launch()
        if not self._await_ready():
            raise RuntimeError(f"{self.name} did not start:\n{self.log[-2_000:]}")

    def stop(self) -> None:
        """Shut down in order. A no-op on a stopped server."""
        self._end(self.stop_signal)

    def sigkill(self) -> None:
        """Kill it as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in order and start again, with its data."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Kill it and start it again without its data."""
        self.sigkill()
        self._forget()
        self.start()

    def freeze(self) -> None:
        """Stop it and all its children with SIGSTOP: it answers nobody. Undone by `thaw`."""
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._tell_all(signal.SIGCONT)

    def _tell_all(self, number: signal.Signals) -> None:
        for pid in family(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _find(self, stack: ExitStack) -> None:
        """Find the program; raises `MissingServer`."""

    def _prepare(self, stack: ExitStack) -> None:
        """Write what the server needs before its first start."""

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _forget(self) -> None:
        """Remove the data of a server that does not run."""
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        (self._folder / "data").mkdir()

    def _launch(self, **how: Any) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                **how,
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await_ready(self) -> bool:
        """Wait until the port takes connections. False: the process ended."""
        for _ in range(START_SECONDS * 50):
            if exited(self._running(), 0.02):
                return False
            if self._answers():
                return True
        raise RuntimeError(f"{self.name} was not ready after {START_SECONDS} s:\n{self.log[-2_000:]}")

    def _answers(self) -> bool:
        with socket.socket() as trial:
            trial.settimeout(1)
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def _end(self, sign: signal.Signals) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(sign)
        process.send_signal(signal.SIGCONT)  # a frozen server hears nothing else
        if not exited(process, STOP_SECONDS):
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[Any]:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process


def find_program(variable: str, names: Iterable[Path | str | None], *, at_least: tuple[int, ...], say: str) -> Path:
    """The first of these programs that is new enough; ``variable`` names one that goes before all. ``say``: what to
    install if there is none. Raises `MissingServer`.
    """
    named = os.environ.get(variable)
    for name in [named] if named else names:
        if name is not None and version_of(Path(name)) >= at_least:
            return Path(name)
    wanted = ".".join(map(str, at_least))
    if named:
        raise MissingServer(f"{variable}={named} is no program of version {wanted} or newer.")
    raise MissingServer(f"No program of version {wanted} or newer: {say}, or set {variable}.")


def version_of(program: Path) -> tuple[int, ...]:
    """What ``PROGRAM --version`` says; empty if it says nothing."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return ()
    number = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said.stdout + said.stderr)
    return tuple(int(part) for part in number.groups(default="0")) if said.returncode == 0 and number else ()


def wheel_file(distribution: str, name: str) -> Path | None:
    """A file of an installed wheel, by its name; nothing of the wheel is imported."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())).resolve() for file in files if file.name == name), None)


def unprivileged() -> dict[str, Any]:
    """The Popen arguments for programs that refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


@contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
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
def free_port() -> Iterator[int]:
    """Hold a port of the range: a locked file keeps other test sessions off, a trial bind finds strangers."""
    locks = Path(tempfile.gettempdir()) / "ais-ports"
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


def exited(process: subprocess.Popen[Any], seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def family(pid: int) -> list[int]:
    """A process and all below it. A child that left the session is found all the same (Linux)."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            below.setdefault(parent, []).append(int(entry.parent.name))
    found = [pid]
    for member in found:
        found += below.get(member, [])
    return found
