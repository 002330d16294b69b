"""``demo.py --serve``: a server process and a worker process, kept up until Ctrl-C, and a link that signs in once."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.urls import reverse

from django_ais import jobs
from django_ais.models import JobPacket
from document_intake import chat, intake, signing_in
from document_intake.handed_in import HandedIn
from document_intake.ports import HOST

CONCURRENCY = 6  # jobs at once
LOOK_SECONDS = 0.05
START_SECONDS = 30.0
STOP_SECONDS = 10.0  # for a process to end when asked to
MOST_EARLY_ENDS = 3  # of processes that lived for less than `STEADY_SECONDS`: something is wrong
STEADY_SECONDS = 5.0
EXAMPLES = Path(__file__).resolve().parents[1]


class Stopped(Exception):
    """A process could not be kept up."""


class Kept:
    """A process that is started again whenever it ends; what it prints goes to a file in ``folder``."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self._command = command
        self._log = folder / f"{name}.log"
        self._early_ends = 0
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the one there is now."""
        assert self._process is not None  # noqa: S101
        return self._process.pid

    def start(self) -> None:
        """Start one."""
        self._started_at = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ended(self) -> str:
        """How it ended; nothing while it runs."""
        code = self._process.poll() if self._process else None
        if code is None:
            return ""
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    def start_again(self) -> None:
        """Start the next. Raises `Stopped` where that seems to lead nowhere."""
        was_told = self._process is not None and self._process.poll() == -signal.SIGTERM  # a restart, however soon
        is_early = not was_told and time.monotonic() - self._started_at < STEADY_SECONDS
        self._early_ends = self._early_ends + 1 if is_early else 0
        if self._early_ends >= MOST_EARLY_ENDS:
            raise Stopped(f"The {self.name} process cannot be kept up; it says:\n{self.tail()}")
        before, how = self.pid, self.ended()
        self.start()
        say(f">>> {self.name} process {before} {how}; process {self.pid} has its place")

    def tail(self, lines: int = 15) -> str:
        """The last of what it printed."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until it has ended; make it, if that takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(folder: Path, documents: Iterable[HandedIn], port: int) -> int:
    """Serve, start a run, and print the link; until Ctrl-C, which is the way to end and no failure."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    site = f"http://{HOST}:{port}"
    try:
        with _kept_up(folder, port) as (server, worker):
            _await_server(server, port)
            intake.start([(document.name, document.text) for document in documents], user=signing_in.the_user())
            say(f"The demo is served at {site}/ and this link signs in, once:\n\n    {link(site)}\n")
            say(
                f"Jobs run in worker process {worker.pid}, the page comes from server process {server.pid}. "
                f"End either (kill {server.pid}):\nthe page goes on where it stood. Ctrl-C ends everything."
            )
            say(f"\n{chat_pages(site)}")
            _offer_links(site)
            _keep_up(server, worker)
    except KeyboardInterrupt:
        say("Stopped.")
        return 0
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 1


def link(site: str) -> str:
    """An address that signs in once."""
    return site + reverse("sign-in", args=[signing_in.token_for(signing_in.the_user())])


def chat_pages(site: str) -> str:
    """Where the chat pages are, or how they are built."""
    if not chat.are_built():
        return "Chat pages (useChat, AG-UI): build them first, see docs/examples/chat/README.md."
    addresses = [f"    {site}{reverse('new-chat', args=[name])}" for name in chat.FRONT_ENDS]
    return "\n".join(["Chat pages on the same site, once signed in:", *addresses])


@contextmanager
def _kept_up(folder: Path, port: int) -> Iterator[tuple[Kept, Kept]]:
    """A server and a worker process; at the end open runs are cancelled and both are gone."""
    uvicorn = [sys.executable, "-m", "uvicorn", "document_intake.asgi:application", "--app-dir", str(EXAMPLES)]
    server = Kept("server", [*uvicorn, "--port", str(port), "--timeout-graceful-shutdown", "3"], folder)
    manage = str(Path(__file__).with_name("manage.py"))
    worker = Kept("worker", [sys.executable, manage, "ais_worker", "--concurrency", str(CONCURRENCY)], folder)
    try:
        worker.start()
        server.start()
        yield server, worker
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it is ending already, and will not take long
        server.terminate()
        for run in JobPacket.objects.roots().open():
            jobs.cancel(run, reason="the demo ended")
        worker.terminate()
        server.wait()
        worker.wait()


def _await_server(server: Kept, port: int) -> None:
    """Wait until the server takes connections. Raises `Stopped` with its words if it does not."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and not server.ended():
        with socket.socket() as tried:
            if tried.connect_ex((HOST, port)) == 0:
                return
        time.sleep(LOOK_SECONDS)
    raise Stopped(f"The server did not start; it says:\n{server.tail()}")


def _keep_up(*processes: Kept) -> None:
    while True:
        for process in processes:
            if process.ended():
                process.start_again()
        time.sleep(LOOK_SECONDS)


def _offer_links(site: str) -> None:
    """At a terminal, Enter prints another link."""

    def listen() -> None:
        for _ in sys.stdin:
            say(f"    {link(site)}\n")

    if sys.stdin and sys.stdin.isatty():
        threading.Thread(target=listen, name="links", daemon=True).start()


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)
