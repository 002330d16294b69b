"""RQ carries the messages: plain `rq`, or a queue of django-rq's where the settings name one.

Each job runs in a process of its own, forked by an RQ worker (RQ calls it a work horse). RQ calls any function that a
message names, so whoever may write to its Redis may run code in the worker processes.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from django_ais.drivers import load
from django_ais.queues import BaseQueue, Disposition, QueueMessage, retry_in

if TYPE_CHECKING:
    from redis import Redis
    from rq import Queue

logger = logging.getLogger("django_ais.rq")

FUNCTION = "django_ais.backends.queue.rq.run"
JSON = "rq.serializers.JSONSerializer"  # RQ's default is pickle, which runs code when it is read
RETRIES = 3  # without them RQ never delivers again what a dead worker process held
FAILURE_SECONDS = 24 * 3600  # how long RQ keeps a message that it gave up; its default is a year
BROKEN_SECONDS = 10.0
CALL_SECONDS = 5.0
DEFAULT_URL = "redis://localhost:6379/0"
LOOPBACK = {"", "localhost", "127.0.0.1", "::1"}

_loaded_in = os.getpid()


class RqOptions(BaseModel):
    """Where the messages lie."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: str | None = Field(
        default=None, min_length=1, description="The name of RQ's queue, taken as it is; `ais.<alias>` if left out."
    )
    url: str | None = Field(
        default=None,
        min_length=1,
        description=f"Where Redis is. Left out: what RQ_QUEUES of django-rq says of this queue, else `{DEFAULT_URL}`.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("begins with redis://, rediss:// or unix://")
        return url


class RqQueue(BaseQueue):
    """Messages in a list in Redis. ``manage.py ais_worker`` becomes ``python -m django_ais.contrib.rq``."""

    options_class = RqOptions
    needs = ("rq", "redis")

    supports_bulk: ClassVar[bool] = True  # Is a batch one round trip?
    supports_cancel_pending: ClassVar[bool] = True  # Can a message not yet delivered be taken back?
    supports_depth: ClassVar[bool] = True  # Can the engine say how many messages wait?
    supports_purge: ClassVar[bool] = True  # Can all waiting messages be dropped?
    isolates_jobs: ClassVar[bool] = True  # Does each job have an operating-system process of its own?
    confirms_enqueue: ClassVar[bool] = True  # Does the broker acknowledge the write?

    error_map: ClassVar[Mapping[str, Literal["rejected", "unknown"]]] = {
        "redis.exceptions.ResponseError": "rejected",  # a batch is one transaction: all of it or nothing
        "redis.exceptions.AuthenticationError": "rejected",
        "redis.exceptions.BusyLoadingError": "rejected",
        "redis.exceptions.RedisError": "unknown",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue_name: str = self.options.queue or f"ais.{re.sub(r'[^a-z0-9_.-]', '-', self.alias.lower())}"
        self._clients: dict[float, Redis] = {}
        self._lock = threading.Lock()

    # what dispatches

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        queue = self._queue(timeout)
        queue.enqueue_many(
            [
                queue.prepare_data(FUNCTION, args=(self.alias, message.job_id), **self._terms(message.dispatch_id))
                for message in messages
            ]
        )

    def _terms(self, dispatch_id: str) -> dict[str, Any]:
        """How RQ treats a message: no time limit and no result, which are the core's."""
        from rq import Retry

        return {
            "job_id": dispatch_id,
            "timeout": -1,
            "result_ttl": 0,
            "failure_ttl": FAILURE_SECONDS,
            "retry": Retry(max=RETRIES),
        }

    def _cancel(self, dispatch_ids: Sequence[str]) -> None:
        queue = self._queue(CALL_SECONDS)
        with self._translated():
            with queue.connection.pipeline(transaction=False) as pipeline:
                for dispatch_id in dispatch_ids:
                    pipeline.lrem(queue.key, 1, dispatch_id)
                    pipeline.zrem(queue.scheduled_job_registry.key, dispatch_id)
                removed = pipeline.execute()
            taken = [
                dispatch_id
                for place, dispatch_id in enumerate(dispatch_ids)
                if removed[2 * place] or removed[2 * place + 1]
            ]
            if taken:  # nobody else has seen these
                queue.connection.delete(*(queue.job_class.key_for(dispatch_id) for dispatch_id in taken))

    def _purge(self) -> None:
        queue = self._queue(CALL_SECONDS)
        with self._translated():
            self._cancel([str(job_id) for job_id in queue.scheduled_job_registry.get_job_ids()])
            queue.empty()  # type: ignore[no-untyped-call]

    def depth(self) -> int:
        """How many messages wait; those held back are not counted. Raises `QueueError`."""
        queue = self._queue(CALL_SECONDS)
        with self._translated():
            return queue.count

    def ping(self, *, timeout: float = 5.0) -> None:
        """Raise `QueueError` if Redis cannot be reached."""
        with self._translated():
            self._client(timeout).ping()

    # what runs jobs

    def worker_command(self, *, concurrency: int) -> list[str]:
        """A process that keeps ``concurrency`` RQ workers, and one that sweeps."""
        command = [sys.executable, "-m", "django_ais.contrib.rq"]
        command += ["--queue", self.alias, "--concurrency", str(concurrency)]
        if sys.path and sys.path[0] and Path(sys.path[0]).resolve() != Path.cwd():
            command += ["--path", sys.path[0]]  # manage.py was started from elsewhere
        return command

    def work(self) -> None:
        """Be one RQ worker, in this process, until it is told to stop. Raises `QueueError` where Redis is away."""
        worker_class = load("django_ais.backends.queue.rq_worker.AisWorker")
        with self._translated():
            worker_class.on(self._queue(None), host=self.host).work(logging_level="WARNING")

    def deliver(self, job_id: str) -> None:
        """Call the handler for a message and do as it says. In a work horse; raises what Redis raises.

        A message that is to come again is in Redis before RQ forgets this one.
        """
        try:
            outcome = self.handler(job_id)
        except Exception:  # it does not raise by contract; one that does must not cost the message
            logger.exception("the message of job %s could not be handled", job_id)
            outcome = retry_in(BROKEN_SECONDS)
        if outcome.disposition is Disposition.RETRY:
            self._hold_back(job_id, outcome.delay)
        elif outcome.disposition is Disposition.REJECT:
            logger.warning("the message of job %s was rejected", job_id)

    def _hold_back(self, job_id: str, delay: float) -> None:
        due = datetime.fromtimestamp(math.ceil(time.time() + delay), UTC)  # RQ keeps whole seconds, rounded down
        terms = self._terms(f"{job_id}-{secrets.token_hex(6)}")
        terms["job_timeout"] = terms.pop("timeout")
        self._queue(CALL_SECONDS).enqueue_at(due, FUNCTION, self.alias, job_id, **terms)

    def deliver_due(self) -> int:
        """Put messages that were held back and whose time has come into the queue; return how many.

        RQ's own scheduler does the same, where one runs. Raises `QueueError`.
        """
        queue = self._queue(CALL_SECONDS)
        key, instant = queue.scheduled_job_registry.key, datetime.now(UTC).timestamp()
        count = 0
        with self._translated():
            for found in queue.connection.zrangebyscore(key, 0, instant, start=0, num=self.max_batch):
                dispatch_id = found.decode() if isinstance(found, bytes) else str(found)
                if queue.connection.zrem(key, dispatch_id) and (job := queue.fetch_job(dispatch_id)) is not None:
                    queue.enqueue_job(job)
                    count += 1
        return count

    # what is wrong

    def check(self) -> list[str]:
        """A broker that anybody can write to; a serializer that cannot read our messages."""
        found = []
        if (exposed := self._exposed()) is not None:
            found.append(
                f"Queue '{self.alias}': Redis at {exposed} is reached without a password or without TLS. RQ runs any "
                "function that a message names: whoever can write there runs code here. Use rediss:// with a password."
            )
        named = (self._django_rq() or {}).get("SERIALIZER")
        if self._django_rq() is not None and "json" not in str(named).lower():
            found.append(
                f"Queue '{self.alias}': set RQ_QUEUES['{self.queue_name}']['SERIALIZER'] to '{JSON}', and start "
                f"rqworker with --serializer {JSON}: the messages are JSON, and RQ's default cannot read them."
            )
        return found

    def _exposed(self) -> str | None:
        """The host, if it is another machine and the way there is open."""
        config = self._django_rq() or {}
        url = self.options.url or config.get("URL") or (None if config else DEFAULT_URL)
        if url is None:
            is_open = not (config.get("PASSWORD") and config.get("SSL"))
            return config["HOST"] if is_open and config.get("HOST", "") not in LOOPBACK else None
        parts = urlsplit(url)
        is_open = not (parts.password and parts.scheme == "rediss")
        return parts.hostname if is_open and parts.scheme != "unix" and (parts.hostname or "") not in LOOPBACK else None

    def probe(self) -> list[str]:
        """`check`; a Redis that forgets; RQ workers that take from several queues. Raises `QueueError`."""
        queue = self._queue(CALL_SECONDS)
        with self._translated():
            probing = load("django_ais.backends.queue.rq_worker.forgetful")(queue)
        return [*self.check(), *(f"Queue '{self.alias}': {sentence}" for sentence in probing)]

    # connections

    def _django_rq(self) -> Mapping[str, Any] | None:
        """What django-rq's settings say of this queue, where they are used."""
        if self.options.url is not None or importlib.util.find_spec("django_rq") is None:
            return None
        from django.conf import settings

        configured: Mapping[str, Any] = getattr(settings, "RQ_QUEUES", None) or {} if settings.configured else {}
        return configured.get(self.queue_name)

    def _queue(self, timeout: float | None) -> Queue:
        from rq import Queue
        from rq.serializers import JSONSerializer

        connection = self._connect(None) if timeout is None else self._client(timeout)
        return Queue(self.queue_name, connection=connection, serializer=JSONSerializer)

    def _client(self, timeout: float) -> Redis:
        with self._lock:
            if timeout not in self._clients:
                self._clients[timeout] = self._connect(timeout)
            return self._clients[timeout]

    def _connect(self, timeout: float | None) -> Redis:
        """A client that gives up within ``timeout`` seconds; None: one that may wait for messages. Nothing is sent.

        redis-py by itself tries a refused connection for four seconds and a silent one for a minute.
        """
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        if self._django_rq() is not None:
            import django_rq

            client = django_rq.get_connection(self.queue_name)
        else:
            client = Redis.from_url(self.options.url or DEFAULT_URL)
        terms = {"socket_connect_timeout": (timeout or CALL_SECONDS) / 2, "retry": Retry(NoBackoff(), 0)}
        if timeout is not None:
            terms["socket_timeout"] = timeout / 2
        client.connection_pool.connection_kwargs.update(terms)
        return client

    def _translated(self) -> Translating:
        return Translating(self)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    def after_fork(self) -> None:
        """Forget the parent's connections."""
        self._lock = threading.Lock()
        self._clients = {}


class Translating:
    """Turns errors of the client library into ours."""

    def __init__(self, queue: RqQueue) -> None:
        self._queue = queue

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            raise self._queue.translate(error) from error


def run(alias: str, job_id: str) -> None:
    """What RQ calls for a message, in the work horse.

    An alias or a driver that this process does not know raises; RQ then tries a few times and keeps the message as
    failed, and the sweep announces the job again.
    """
    leave_inherited_connections()
    queue: RqQueue = load("django_ais.registry.queues")[alias]
    try:
        queue.deliver(job_id)
    finally:
        if (host := queue.host) is not None:
            host.stop()


def leave_inherited_connections() -> None:
    """Forget database connections that the parent process opened. To close one here would end the parent's."""
    global _loaded_in
    if _loaded_in != os.getpid():
        from django.db import connections

        _loaded_in = os.getpid()
        for connection in connections.all(initialized_only=True):
            connection.connection = None
