"""Worker processes of an `rq` queue: ``python -m django_ais.contrib.rq --queue ALIAS --concurrency N``.

The process that is started loads the project and then only watches: it holds no thread and no database connection. It
forks N RQ workers, which fork a process for each job, and starts one process that sweeps. Whoever of them dies is
replaced. The first SIGTERM or SIGINT takes nothing more and waits for the jobs, the second one ends all at once.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

import django

logger = logging.getLogger("django_ais.rq")

LAST_SECONDS = 10.0  # beyond the drain's, for what RQ and the drain itself have to write
AT_ONCE_SECONDS = 3.0
SHORT_LIFE_SECONDS = 5.0
PAUSE_SECONDS = 1.0  # before who died young is replaced
LOOK_SECONDS = 1.0  # how often messages that were held back are looked for


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the process that the arguments ask for; return its exit code."""
    options = parser().parse_args(arguments)
    sys.path[:0] = options.path
    django.setup()
    if options.sweep:
        return sweep(options.queue)
    return Crew(options.queue, options.concurrency).run()


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(prog="python -m django_ais.contrib.rq", description="Worker processes of an rq queue.")
    parser.add_argument("--queue", default="default", metavar="ALIAS", help="an alias of QUEUES (default: default)")
    parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="jobs at once (default: 4)")
    parser.add_argument("--path", action="append", default=[], help="a folder to import the project from")
    parser.add_argument("--sweep", action="store_true", help="only sweep, until the standard input ends")
    return parser


class Crew:
    """The RQ workers and the sweeping process of this one."""

    def __init__(self, alias: str, concurrency: int) -> None:
        from django_ais import conf

        self._alias = alias
        self._concurrency = concurrency
        self._drain_seconds = conf.current().drain_seconds
        self._workers: dict[int, float] = {}  # process id: when it was started
        self._sweeper: subprocess.Popen[bytes] | None = None
        self._news: SimpleQueue[int] = SimpleQueue()  # `put` may be called by a signal handler
        self._stops = 0
        self._code = 0  # of a process that a second signal ends
        self._not_before = 0.0

    def run(self) -> int:
        """Keep the crew complete until a signal, then let it end; return the exit code."""
        queue = load_project(self._alias)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._hear)
        say(f"queue '{self._alias}' (rq, {queue.queue_name}), concurrency {self._concurrency}")
        while not self._stops:
            self._complete(queue)
            self._await_news(PAUSE_SECONDS if self._missing() else None)
            self._reap()
        return self._stop()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._stops += 1
            self._code = 128 + number
        self._news.put(number)

    def _await_news(self, seconds: float | None) -> None:
        with suppress(Empty):
            self._news.get(timeout=seconds)

    def _missing(self) -> int:
        return self._concurrency - len(self._workers) + (self._sweeper is None)

    def _complete(self, queue: Any) -> None:
        if time.monotonic() < self._not_before:
            return
        if self._sweeper is None:
            self._sweeper = start_sweeper(self._alias)
        while len(self._workers) < self._concurrency and not self._stops:
            self._workers[self._fork(queue)] = time.monotonic()

    def _fork(self, queue: Any) -> int:
        """Start an RQ worker; return its process id."""
        from django.db import connections

        from django_ais.exceptions import QueueError

        connections.close_all()
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._leave_the_crew()
            queue.work()
            code = 0
        except QueueError as error:
            logger.warning("an RQ worker cannot go on: %s", error)
        except BaseException:  # noqa: BLE001 - printed; the process ends, and another takes its place
            traceback.print_exc()
        finally:
            leave(code)
        return 0

    def _leave_the_crew(self) -> None:
        """In the child: a group of its own, so that Ctrl-C is heard by the crew alone; no hold on the sweeper, and no
        sweep in the process of each job, which would cost it a thread and a connection.
        """
        from django_ais.runtime.relay import sweeper

        sweeper.abstain()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        if self._sweeper is not None and self._sweeper.stdin is not None:
            os.close(self._sweeper.stdin.fileno())

    def _reap(self) -> None:
        for pid, started in list(self._workers.items()):
            if ended(pid):
                del self._workers[pid]
                self._mourn("an RQ worker", started)
        if self._sweeper is not None and self._sweeper.poll() is not None:
            self._sweeper = None
            self._mourn("the sweeping process", time.monotonic())

    def _mourn(self, who: str, started: float) -> None:
        if not self._stops:
            logger.warning("%s has ended; another takes its place", who)
            if time.monotonic() - started < SHORT_LIFE_SECONDS:
                self._not_before = time.monotonic() + PAUSE_SECONDS

    def _stop(self) -> int:
        say(
            f"taking nothing more; waiting up to {self._drain_seconds:g} s for running jobs. A second signal stops at "
            "once."
        )
        self._tell(signal.SIGTERM)
        self._await_end(self._drain_seconds + LAST_SECONDS)
        code = self._code if self._stops > 1 else int(bool(self._workers))
        self._stops = 1
        self._tell(signal.SIGINT)
        self._await_end(AT_ONCE_SECONDS)
        self._tell(signal.SIGKILL)
        self._stop_sweeper()
        say("stopped." if not code else "stopped at once; what ran is taken up when its leases have run out.")
        return code

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _await_end(self, seconds: float) -> None:
        """Wait until the workers have ended, or a second signal comes."""
        end = time.monotonic() + seconds
        while self._workers and self._stops < 2 and (left := end - time.monotonic()) > 0:
            self._await_news(left)
            self._reap()

    def _stop_sweeper(self) -> None:
        if self._sweeper is None or self._sweeper.stdin is None:
            return
        self._sweeper.stdin.close()
        try:
            self._sweeper.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            self._sweeper.kill()


def load_project(alias: str) -> Any:
    """Import here what jobs need, so that each job's process finds it; return the queue."""
    from django_ais import conf, registry
    from django_ais.runtime.host import refuse_green_threads

    refuse_green_threads()
    current = conf.current()
    for drivers, aliases in ((registry.queues, current.queues), (registry.buses, current.buses)):
        for name in aliases:
            drivers[name]
    for name in current.gateways:
        registry.gateways[name]
    queue: Any = registry.queues[alias]
    queue.handler, queue.host  # noqa: B018 - asking imports them
    return queue


def start_sweeper(alias: str) -> subprocess.Popen[bytes]:
    """Start the process that sweeps: a program of its own, not a fork. It ends when its standard input does."""
    command = [sys.executable, "-m", "django_ais.contrib.rq", "--queue", alias, "--sweep"]
    for folder in sys.path[:1]:
        command += ["--path", folder]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def sweep(alias: str) -> int:
    """Sweep, and put messages into the queue that were held back, until the standard input ends."""
    from django_ais import registry
    from django_ais.exceptions import QueueError
    from django_ais.runtime.host import host

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it ends with the process that started it
    host.start()
    queue: Any = registry.queues[alias]
    while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
        try:
            queue.deliver_due()
        except QueueError as error:
            logger.warning("messages that were held back wait on: %s", error)
    watchdog = threading.Timer(LAST_SECONDS, leave, [1])
    watchdog.daemon = True
    watchdog.start()
    host.stop()
    return 0


def ended(pid: int) -> bool:
    """Whether a child has ended; if so, nothing is left of it."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def say(text: str) -> None:
    """Print a line; whoever read the lines may be gone."""
    with suppress(OSError):
        sys.stdout.write(f"ais_worker: {text}\n")
        sys.stdout.flush()


def leave(code: int) -> None:
    """End this process without waiting for its threads."""
    logging.shutdown()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
