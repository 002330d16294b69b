"""Both sides of a site that is deployed while it works: what dispatches runs, and the engines' worker processes."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis as redis_client
from django.db import connection

from django_ais import jobs
from django_ais.conformance.ledger import PLACE, Ledger
from django_ais.models import JobPacket
from tests.harness.waiting import until
from tests.integration.queues.processes import EngineProcess, ais_worker, running

SETTINGS = f"{__package__}.settings"
ITEMS = 18
JOBS_OF_A_RUN = ITEMS + 2  # that a worker runs: one that picks, the items, one that joins
LOOK_SECONDS = 0.02
SECONDS = 60.0  # for anything to happen on a busy machine
QUEUE = "ais.default"  # as the brokers call it
READY = {"celery": "[queues]", "dramatiq": "ready for action", "database": "concurrency"}  # what a process says


def releases(broker: str) -> dict[str, dict[str, Any]]:
    """``DJANGO_AIS`` of each release of the site: nothing but the queue differs."""
    rest = {
        "BUSES": {"default": "database"},
        "GATEWAYS": {"default": "scripted"},
        "LEASE_SECONDS": 2,
        "SWEEP_SECONDS": 0.3,
        "ANNOUNCE_AGAIN_SECONDS": 2,
        "ENQUEUE_TIMEOUT_SECONDS": 2,
        "MAX_DELIVERIES": 9,
    }
    queues: dict[str, Any] = {
        "celery": {"BACKEND": "celery", "OPTIONS": {"broker_url": broker}},
        "dramatiq": {"BACKEND": "dramatiq", "OPTIONS": {"url": broker}},
        "database": "database",
    }
    return {engine: {"QUEUES": {"default": queue}, **rest} for engine, queue in queues.items()}


class Web:
    """The dispatching side: starts one run after the other in a thread, so many open at once, under its release."""

    def __init__(self, settings: Any, known: dict[str, dict[str, Any]], *, runs: int, at_once: int) -> None:
        self.started: list[JobPacket] = []
        self._settings, self._known, self._runs, self._at_once = settings, known, runs, at_once
        self._release = ""
        self._limit = 0
        self._lock = threading.RLock()  # a process has one release at a time
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._dispatch, name="web", daemon=True)

    @property
    def is_done(self) -> bool:
        """Whether every run was started."""
        return len(self.started) >= self._runs

    def deploy(self, release: str, *, until_share: float) -> None:
        """From now on dispatch with this release, until so large a share of all runs has been started."""
        with self._lock:
            self._release, self._limit = release, round(self._runs * until_share)
            self._settings.DJANGO_AIS = self._known[release]

    def start_one(self, release: str) -> JobPacket:
        """Start a run at once, as a process of this release, which another one may have followed, does."""
        with self._lock:
            self._settings.DJANGO_AIS = self._known[release]
            run = jobs.start("harvest", {"items": ITEMS})
            self.started.append(run)
            self._settings.DJANGO_AIS = self._known[self._release]
        return run

    def _dispatch(self) -> None:
        try:
            while not self._over.wait(LOOK_SECONDS):
                with self._lock:
                    if len(self.started) < self._limit and JobPacket.objects.roots().open().count() < self._at_once:
                        self.start_one(self._release)
        finally:
            connection.close()

    def __enter__(self) -> Web:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()


class Engines:
    """The worker processes of all engines, and what the ledger tells of each."""

    def __init__(self, folder: Path, known: dict[str, dict[str, Any]]) -> None:
        self.ledger = Ledger(folder / "ledger")
        self.engine_of: dict[int, str] = {}  # by the session of the process
        self._folder, self._known = folder, known
        self._hired: list[EngineProcess] = []
        self._stack = ExitStack()

    def hire(self, engine: str, count: int) -> list[EngineProcess]:
        """Begin to start worker processes."""
        there = {PLACE: str(self._folder), "DJANGO_SETTINGS_MODULE": SETTINGS}
        made = []
        for _ in range(count):
            process = self._stack.enter_context(
                running(ais_worker("--concurrency", "2"), self._folder, self._known[engine], **there)
            )
            self.engine_of[process.pid] = engine
            made.append(process)
        self._hired += made
        return made

    def await_ready(self, processes: list[EngineProcess]) -> None:
        """Wait until all of these take jobs, or are about to."""
        for process in processes:
            process.hear(READY[self.engine_of[process.pid]])

    def attempts(self) -> list[tuple[str, str]]:
        """Every attempt that was begun: the job, and the engine whose process began it."""
        return [(line["job"], self.engine_of[line["session"]]) for line in self.ledger.lines("attempt")]

    def ran(self) -> Counter[str]:
        """How many attempts each engine has begun."""
        return Counter(engine for _, engine in self.attempts())

    def ran_by(self, job: str) -> list[str]:
        """The engines that began a job, in order."""
        return [engine for other, engine in self.attempts() if other == job]

    def await_more(self, *engines: str, count: int = 1) -> None:
        """Wait until each of these engines has begun so many more attempts."""
        before = self.ran()
        until(
            lambda: all(self.ran()[engine] >= before[engine] + count for engine in engines),
            what=f"{count} more attempts by {' and '.join(engines)}",
            seconds=SECONDS,
        )

    def kill_at_work(self, *processes: EngineProcess) -> str:
        """SIGKILL one of these processes, with its children, in the middle of a job; the job."""
        caught = until(
            lambda: next(filter(None, map(self._catch, processes)), None),
            what="a process to be in the middle of a job",
            seconds=SECONDS,
        )
        assert caught is not None
        process, job = caught
        process.kill()
        return job

    def _catch(self, process: EngineProcess) -> tuple[EngineProcess, str] | None:
        os.killpg(process.pid, signal.SIGSTOP)  # so that the job cannot end between the look and the kill
        begun = {line["job"]: line["session"] for line in self.ledger.lines("attempt")}  # the last attempt of each
        worked = {line["job"] for line in self.ledger.lines("worked", session=process.pid)}
        middle = [job for job, session in begun.items() if session == process.pid and job not in worked]
        if middle:
            return process, middle[-1]
        os.killpg(process.pid, signal.SIGCONT)
        return None

    def dismiss(self, engine: str) -> None:
        """SIGTERM to all of an engine's processes, which they obey in order."""
        leaving = [process for process in self._hired if process.is_alive and self.engine_of[process.pid] == engine]
        for process in leaving:
            process.send(signal.SIGTERM)
        for process in leaving:
            assert process.end() == 0, process.said

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)


@contextmanager
def looking_into(broker: str) -> Iterator[redis_client.Redis]:
    """A client of the broker that belongs to nobody."""
    with redis_client.Redis.from_url(broker) as client:
        yield client


def waiting_in_celery(broker: str) -> list[str]:
    """The jobs of the messages that wait in Celery's queue: a message's id begins with its job's."""
    with looking_into(broker) as client:
        names = [name for name in client.scan_iter(f"{QUEUE}*") if client.type(name) == b"list"]
        texts = [text for name in names for text in client.lrange(name, 0, -1)]
    return [json.loads(text)["headers"]["id"][:36] for text in texts]


def waiting_in_dramatiq(broker: str) -> int:
    """How many messages wait in dramatiq's queue, or are held by its processes."""
    with looking_into(broker) as client:
        return int(client.hlen(f"ais:{QUEUE}.msgs"))
