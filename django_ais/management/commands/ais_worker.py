"""``manage.py ais_worker``: a worker process for one queue, with the sweep."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from django_ais import conf, registry
from django_ais.exceptions import AisError
from django_ais.management.worker_process import Consume, WorkerProcess, require_database
from django_ais.queues import BaseQueue
from django_ais.runtime import database
from django_ais.runtime.host import refuse_green_threads

CONCURRENCY = 4


class Command(BaseCommand):
    help = (
        "Run a worker process: take jobs from a queue, and sweep. SIGTERM stops claiming and waits for running jobs; "
        "what is left then is handed back without an attempt. Where the queue's engine has a worker command of its "
        "own, this process becomes that."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name the queue and its bounds."""
        parser.add_argument("--queue", default="default", metavar="ALIAS", help="an alias of QUEUES (default: default)")
        parser.add_argument(
            "--concurrency", type=at_least_one, default=CONCURRENCY, metavar="N", help=f"jobs at once ({CONCURRENCY})"
        )
        parser.add_argument(
            "--drain-seconds",
            type=not_negative,
            metavar="S",
            help="how long to wait for running jobs when stopping (default: the setting DRAIN_SECONDS)",
        )
        parser.add_argument(
            "--print-command", action="store_true", help="print the command line of the queue's engine and stop"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Become the engine's worker process, or be one until a signal."""
        try:
            refuse_green_threads()
            queue = registry.queues[options["queue"]]
            drain_seconds = conf.current().drain_seconds
        except AisError as error:
            raise CommandError(str(error)) from error
        command = queue.worker_command(concurrency=options["concurrency"])
        if options["print_command"]:
            self._print(command, queue)
            return
        require_database()
        if command is not None:
            if options["drain_seconds"] is not None:
                raise CommandError(
                    f"Queue '{queue.alias}' is consumed by its engine's own command, which --drain-seconds does not "
                    "reach. Set DJANGO_AIS['DRAIN_SECONDS'] instead."
                )
            self._become(command)
        if options["drain_seconds"] is not None:
            drain_seconds = options["drain_seconds"]
        consume = consumer_of(queue, options["concurrency"])
        self._say(self._first_line(queue, options["concurrency"]))
        code = WorkerProcess(consume, drain_seconds=drain_seconds, say=self._say).run()
        if code:
            sys.exit(code)

    def _print(self, command: list[str] | None, queue: BaseQueue) -> None:
        if command is None:
            raise CommandError(f"Queue '{queue.alias}' has no command of its own: manage.py ais_worker runs it.")
        self.stdout.write(shlex.join(command))

    def _become(self, command: list[str]) -> None:
        self._say(f"ais_worker: {shlex.join(command)}")
        connections.close_all()
        try:
            os.execvp(command[0], command)  # noqa: S606 - a list, no shell; the driver of the settings made it
        except OSError as error:
            raise CommandError(f"{command[0]} cannot be started: {error.strerror}. Is it installed?") from error

    def _first_line(self, queue: BaseQueue, concurrency: int) -> str:
        driver = conf.current().queue(queue.alias).backend
        using = database.database()
        line = (
            f"ais_worker: queue '{queue.alias}' ({driver}), concurrency {concurrency}, "
            f"database '{using}' ({connections[using].vendor})"
        )
        return f"{line}. {what_happens(queue)}".rstrip(" .")

    def _say(self, line: str) -> None:
        with suppress(OSError):  # whoever read the lines may be gone; jobs go on
            self.stdout.write(line)
            self.stdout.flush()


def consumer_of(queue: BaseQueue, concurrency: int) -> Consume:
    """What consumes a queue in this process; for one whose jobs run where they are dispatched, nothing but the sweep.

    Raises `CommandError` for a driver whose worker processes are started otherwise.
    """
    if queue.supports_worker:
        return lambda stop: queue.run_worker(concurrency=concurrency, stop=stop)
    if queue.is_embedded:
        return wait_for_stop
    raise CommandError(f"Queue '{queue.alias}' starts no worker process of its own. {queue.worker_advice()}")


def wait_for_stop(stop: threading.Event) -> int:
    """Consume nothing."""
    stop.wait()
    return 0


def what_happens(queue: BaseQueue) -> str:
    """A sentence about drivers that run jobs in the process that dispatches them; nothing for others."""
    if not queue.is_embedded:
        return ""
    again = f"{conf.current().announce_again_seconds:g} s"
    if queue.supports_worker:
        return (
            "This queue lives in memory: jobs run in the process that dispatches them, and here only those that this "
            f"process dispatches itself and those that the sweep finds left over, {again} late or more."
        )
    return (
        "This queue runs a job in the process that dispatches it: here run only those that the sweep finds left over, "
        f"{again} late or more, and those whose time has come."
    )


def at_least_one(text: str) -> int:
    """An argument that is a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def not_negative(text: str) -> float:
    """An argument that is a number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number
