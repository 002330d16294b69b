"""Worker processes of a `django_tasks` queue on django-tasks-db: ``python -m django_ais.contrib.django_tasks``.

The process that is started only watches. It starts N processes that are ``manage.py db_worker`` each, with the sweep
from their beginning, and replaces who dies. The first SIGTERM or SIGINT takes nothing more and waits for the jobs, the
second one ends all at once. When the watching process is gone, its workers end too.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

import django

logger = logging.getLogger("django_ais.queues")

LAST_SECONDS = 5.0  # beyond the drain's, for what the backend and the drain itself have to write
PAUSE_SECONDS = 1.0  # before who died young is replaced


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the process that the arguments ask for; return its exit code."""
    options = parser().parse_args(arguments)
    sys.path[:0] = options.path
    django.setup()
    return work(options.queue) if options.work else Crew(options).run()


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(
        prog="python -m django_ais.contrib.django_tasks", description="Worker processes of a django_tasks queue."
    )
    parser.add_argument("--queue", default="default", metavar="ALIAS", help="an alias of QUEUES (default: default)")
    parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="jobs at once (default: 4)")
    parser.add_argument("--path", action="append", default=[], help="a folder to import the project from")
    parser.add_argument("--work", action="store_true", help="be one worker, until the standard input ends")
    return parser


class Crew:
    """The workers of the process that watches."""

    def __init__(self, options: Namespace) -> None:
        from django_ais import conf

        self._options = options
        self._drain_seconds = conf.current().drain_seconds
        self._workers: list[subprocess.Popen[bytes]] = []
        self._news: SimpleQueue[int] = SimpleQueue()  # `put` may be called by a signal handler
        self._stops = 0

    def run(self) -> int:
        """Keep the crew complete until a signal, then let it end; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._hear)
        say(f"queue '{self._options.queue}' (django_tasks, db_worker), {self._options.concurrency} processes")
        while not self._stops:
            while len(self._workers) < self._options.concurrency:
                self._workers.append(self._start())
            self._await_news(None)
            if self._reap() and not self._stops:
                logger.warning("a worker has ended; another takes its place")
                self._await_news(PAUSE_SECONDS)
        return self._stop()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._stops += number != signal.SIGCHLD
        self._news.put(number)

    def _await_news(self, seconds: float | None) -> None:
        with suppress(Empty):
            self._news.get(timeout=seconds)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "django_ais.contrib.django_tasks", "--queue", self._options.queue, "--work"]
        for folder in self._options.path or sys.path[:1]:
            command += ["--path", folder]
        # A session of its own: Ctrl-C is for the watching process, which closes their standard inputs.
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _reap(self) -> int:
        """Forget the workers that have ended; return how many."""
        before = len(self._workers)
        self._workers = [worker for worker in self._workers if worker.poll() is None]
        return before - len(self._workers)

    def _stop(self) -> int:
        say(
            f"taking nothing more; waiting up to {self._drain_seconds:g} s for running jobs. A second signal stops at "
            "once."
        )
        for worker in self._workers:
            if worker.stdin is not None:
                worker.stdin.close()
        end = time.monotonic() + self._drain_seconds + LAST_SECONDS
        while self._workers and self._stops < 2 and (left := end - time.monotonic()) > 0:
            self._await_news(left)
            self._reap()
        for worker in self._workers:
            worker.kill()
        code = int(bool(self._workers))
        say("stopped." if not code else "stopped at once; what ran is taken up when its leases have run out.")
        return code


def work(alias: str) -> int:
    """Be a ``db_worker`` that sweeps, until the standard input ends."""
    from django.core.management import call_command

    from django_ais import registry
    from django_ais.runtime.host import host

    queue: Any = registry.queues[alias]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # until db_worker has its own
    host.start()
    threading.Thread(target=_end_with_input, name="ais-drain", daemon=True).start()
    call_command(
        "db_worker",
        backend_name=queue.options.backend,
        queue_name=queue.options.queue,
        interval=queue.options.poll_seconds,
        startup_delay=False,
        reload=False,
    )
    host.stop()
    return 0


def _end_with_input() -> None:
    """When the watching process stops or is gone: take nothing more, wait for the job, hand back what does not end."""
    from django_ais.runtime.host import host

    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)  # db_worker ends after its task
    try:
        handed_back = host.drain()
    except Exception:
        logger.exception("this process could not hand its job back; its lease runs out")
        handed_back = -1
    if handed_back:
        logger.warning("stopping; %s handed back", f"{handed_back} jobs" if handed_back > 0 else "nothing could be")
        logging.shutdown()
        os._exit(0)


def say(text: str) -> None:
    """Print a line; whoever read the lines may be gone."""
    with suppress(OSError):
        sys.stdout.write(f"ais_worker: {text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
