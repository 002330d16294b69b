"""The RQ worker of the `rq` driver: RQ's own, with an end that is bounded and jobs that are handed back."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

import redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from django_ais.queues import Host

try:
    from rq.exceptions import StopRequested
except ImportError:  # before RQ 3
    from rq.worker import StopRequested  # type: ignore[attr-defined, no-redef]

logger = logging.getLogger("django_ais.rq")

TTL_SECONDS = 30  # RQ's default of 420 lets an idle worker look for lost messages every 405 s
MAINTENANCE_SECONDS = 30
LAST_SECONDS = 5.0  # for RQ's own books, once the job has ended
HANDED_BACK = 1  # any code but 0: RQ puts the message back into its queue


class AisWorker(Worker):
    """Runs each job in a work horse. SIGTERM: take nothing more, the job is told to end. SIGINT: leave at once."""

    max_connection_wait_time = 5.0  # a Redis that is back should not wait a minute for us
    host: Host | None = None
    parent = 0

    @classmethod
    def on(cls, queue: Queue, *, host: Host | None) -> AisWorker:
        """A worker of this queue alone: what RQ pops for a worker of two is gone if that one dies."""
        worker = cls(
            [queue],
            connection=queue.connection,
            serializer=JSONSerializer,
            worker_ttl=TTL_SECONDS,
            maintenance_interval=MAINTENANCE_SECONDS,
            log_job_description=False,
        )
        worker.host = host
        worker.parent = os.getppid()
        return worker

    def _install_signal_handlers(self) -> None:
        signal.signal(signal.SIGTERM, self.request_stop)
        signal.signal(signal.SIGINT, self.leave_at_once)

    def request_stop(self, signum: Any, frame: Any) -> None:
        """Take nothing more; end when the job that runs has ended or was handed back."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._stop_requested = True
        if self.get_state() != WorkerStatus.BUSY:
            raise StopRequested
        self._tell_horse(signal.SIGTERM)

    def leave_at_once(self, signum: int, frame: FrameType | None) -> None:
        """End this process and its horse, with whatever they were doing."""
        self._tell_horse(signal.SIGKILL)
        os._exit(128 + signum)

    def _tell_horse(self, number: signal.Signals) -> None:
        if self.horse_pid:
            try:
                os.kill(self.horse_pid, number)
            except ProcessLookupError:
                logger.debug("work horse %s has just ended", self.horse_pid)

    def monitor_work_horse(self, *args: Any) -> None:
        """Wait for the horse. Who was told to stop while it was being forked tells it now."""
        if self._stop_requested:
            self._tell_horse(signal.SIGTERM)
        super().monitor_work_horse(*args)

    def run_maintenance_tasks(self) -> None:
        """Look after lost messages; leave if the process that watches over this one is gone."""
        if os.getppid() != self.parent:
            raise StopRequested
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]

    def setup_work_horse_signals(self) -> None:
        """In the horse: SIGTERM begins a drain."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._begin_drain)

    def _begin_drain(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=self._drain, name="ais-drain", daemon=True).start()

    def _drain(self) -> None:
        """Wait for the job as long as the settings say, hand it back, and leave this process."""
        try:
            given_back = self.host.drain() if self.host is not None else 0
        except Exception:  # whatever it was, the horse must not outlive the drain
            logger.exception("the drain failed; the job is taken up when its lease has run out")
            given_back = 1
        if not given_back:
            threading.Event().wait(LAST_SECONDS)
        os._exit(HANDED_BACK)


def forgetful(queue: Queue) -> list[str]:
    """Sentences about a running Redis and its RQ workers that may lose messages."""
    found = []
    settings = {**_setting(queue, "maxmemory-policy"), **_setting(queue, "appendonly"), **_setting(queue, "save")}
    if (policy := settings.get("maxmemory-policy", "noeviction")) != "noeviction":
        found.append(f"Redis has maxmemory-policy {policy} and may drop messages without an error; set noeviction.")
    if settings.get("appendonly") == "no" and not settings.get("save"):
        found.append("Redis keeps nothing on disk: its messages are gone when it stops; set appendonly yes.")
    version = str(queue.connection.info("server").get("redis_version", ""))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < (6, 2):
        found.append(f"Redis {version} has no LMOVE, so a worker that dies loses what it just took; use 6.2 or later.")
    for worker in Worker.all(queue=queue):
        if len(worker.queue_names()) > 1:
            names = ", ".join(worker.queue_names())
            found.append(f"RQ worker {worker.name} takes from several queues ({names}): what it pops may be lost.")
    return found


def _setting(queue: Queue, name: str) -> dict[str, str]:
    """A setting of the server; nothing where it does not tell, as hosted ones do."""
    try:
        return {str(key): str(value) for key, value in queue.connection.config_get(name).items()}
    except redis.exceptions.ResponseError:
        return {}
