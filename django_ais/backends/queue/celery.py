"""Jobs through Celery, on Redis or RabbitMQ: in the project's own worker processes or in those of ``ais_worker``."""

from __future__ import annotations

import inspect
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from threading import Lock
from typing import Any, ClassVar, Literal

from django_ais.backends.queue.celery_app import (
    CeleryOptions,
    declare,
    family,
    find_app,
    is_exposed,
    known_broker,
    looks_every,
)
from django_ais.backends.queue.celery_publisher import Publisher
from django_ais.exceptions import PartialEnqueueError, QueueError
from django_ais.queues import BaseQueue, QueueMessage

TASK = "django_ais.run_job"
SHORTEST_VISIBILITY = 60  # seconds; below it Redis delivers every longer job again and again
PROBE_SECONDS = 5.0
RABBIT_BATCH = 100  # the time limit of an enqueue is each batch's


class CeleryQueue(BaseQueue):
    """Messages go to the project's Celery app if it has a broker, else to an app of our own."""

    options_class = CeleryOptions
    needs = ("celery", "kombu")

    supports_priority: ClassVar[bool] = True  # Does a higher priority overtake? Each instance says so for its broker.
    supports_bulk: ClassVar[bool] = True  # Is a batch one round trip?
    redelivers_on_worker_loss: ClassVar[bool] = True  # Does the engine itself deliver again when a process dies?
    supports_depth: ClassVar[bool] = True  # Can the engine say how many messages wait?
    supports_purge: ClassVar[bool] = True  # Can all waiting messages be dropped?
    confirms_enqueue: ClassVar[bool] = True  # Does the broker acknowledge the write?

    error_map: ClassVar[Mapping[str, Literal["rejected", "unknown"]]] = {
        "celery.exceptions.QueueNotFound": "rejected",
        "kombu.exceptions.EncodeError": "rejected",
        "kombu.exceptions.OperationalError": "unknown",
        "kombu.exceptions.BatchPublishError": "unknown",
        "amqp.exceptions.AccessRefused": "rejected",
        "amqp.exceptions.PreconditionFailed": "rejected",
        "redis.exceptions.AuthenticationError": "rejected",
        "redis.exceptions.OutOfMemoryError": "rejected",
        "redis.exceptions.ReadOnlyError": "rejected",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue_name: str = self.options.queue or f"ais.{self.alias}"
        known = family(known_broker(self.options))
        # What follows is the broker's, so each instance says it for its own.
        prioritized = known == "redis" or (known == "amqp" and self.options.max_priority is not None)
        self.supports_priority = prioritized  # type: ignore[misc]
        if known == "redis" and self.options.app is None and self.options.broker_url:  # else it is the project's to say
            visibility = self.options.visibility_timeout
            self.redelivery_delay = float(visibility + looks_every(visibility))  # type: ignore[misc]
        if known == "amqp":  # each message is confirmed by itself
            self.supports_bulk = False  # type: ignore[misc]
            self.max_batch = RABBIT_BATCH  # type: ignore[misc]
        self._app: Any = None
        self._lock = Lock()
        self._publishers: dict[float, Publisher] = {}  # by timeout, which is a connection's for life

    @property
    def app(self) -> Any:
        """The Celery app, found when first needed. Raises `ConfigurationError` if it cannot be imported."""
        if self._app is None:
            app = find_app(self.options, self.queue_name)
            declare(app, self.queue_name, self.options.max_priority)
            self._app = app
        return self._app

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        end = time.monotonic() + timeout
        rest = list(messages)

        def publish(producer: Any) -> None:
            if getattr(producer, "supports_batch_publish", False):
                with producer.batch(max_size=self.max_batch):
                    for message in rest:
                        self._publish(producer, message, timeout)
                rest.clear()
            while rest:
                if time.monotonic() >= end:
                    raise QueueError(f"queue '{self.alias}': the broker is slow; {len(rest)} messages were not sent")
                self._publish(producer, rest[0], timeout)
                rest.pop(0)

        try:
            self._publisher_for(timeout).use(publish)
        except Exception as error:
            if len(rest) == len(messages):
                raise
            failed = [message.dispatch_id for message in rest]
            accepted = [message.dispatch_id for message in messages if message.dispatch_id not in failed]
            raise PartialEnqueueError(str(self.translate(error)), accepted=accepted, failed=failed) from error

    def _publish(self, producer: Any, message: QueueMessage, timeout: float) -> None:
        self._send(producer, message.job_id, message.dispatch_id, self._level(message.priority), timeout=timeout)

    def _send(self, producer: Any, job_id: str, dispatch_id: str, level: int | None, **more: Any) -> None:
        """Hand one message to Celery: `level` on the broker's own scale, ``more`` for ``send_task``."""
        patience = more.pop("timeout") / 2
        more.setdefault("queue", self.queue_name)
        if _can_bound_confirms():
            more["confirm_timeout"] = patience
        self.app.send_task(
            TASK,
            args=(job_id,),
            task_id=dispatch_id,
            producer=producer,
            priority=level,
            serializer="json",
            ignore_result=True,
            retry=False,
            add_to_parent=False,
            time_limit=None,
            soft_time_limit=None,
            expires=None,
            timeout=patience,
            **more,
        )

    def send_again(self, job_id: str, delivery: Mapping[str, Any], *, delay: float, timeout: float = 5.0) -> None:
        """Send a delivered message anew, held back for ``delay`` seconds; as `enqueue` it raises when that failed."""
        dispatch_id = f"{job_id[:40]}-{secrets.token_hex(6)}"
        more = {"queue": delivery.get("routing_key") or self.queue_name, "countdown": delay, "timeout": timeout}
        self._publisher_for(timeout).use(
            lambda producer: self._send(producer, job_id, dispatch_id, delivery.get("priority"), **more)
        )

    def _level(self, priority: int) -> int | None:
        """A priority on the broker's scale: Redis runs low numbers first, in four steps; RabbitMQ high ones."""
        if not self.supports_priority:
            return None
        if self.options.max_priority is not None and family(self.app.conf.broker_write_url) == "amqp":
            return rabbit_level(priority, self.options.max_priority)
        return redis_level(priority)

    def _publisher_for(self, timeout: float) -> Publisher:
        with self._lock:
            publisher = self._publishers.get(timeout)
            if publisher is None or publisher.pid != os.getpid():
                publisher = self._publishers[timeout] = Publisher(self.app, timeout=timeout)
            return publisher

    def register_task(self) -> None:
        """Let the app know the task, and this process what a worker process has to do."""
        from django_ais.backends.queue import celery_worker

        celery_worker.register(self)

    def worker_command(self, *, concurrency: int) -> list[str] | None:
        """``celery worker`` for this queue alone, one message ahead for each slot."""
        app = self.options.app or f"django_ais.contrib.celery:{self.alias}"
        return [
            *[sys.executable, "-m", "celery", "-A", app, "worker", "-Q", self.queue_name],
            *["-c", str(concurrency), "-P", self.options.pool, "--prefetch-multiplier", "1"],
            *["--without-gossip", "--without-mingle", "-n", f"{self.queue_name}.{os.getpid()}@%h"],
        ]

    def depth(self) -> int | None:
        """How many messages wait, without those that a process holds."""
        return int(self._ask(lambda channel: _count(channel, self.queue_name), timeout=PROBE_SECONDS))

    def _purge(self) -> None:
        def purge(channel: Any) -> None:
            if _count(channel, self.queue_name):
                channel.queue_purge(self.queue_name)

        self._ask(purge, timeout=PROBE_SECONDS)

    def ping(self, *, timeout: float = 5.0) -> None:
        """Ask for the queue. Raises `QueueError` if the broker does not answer."""
        self._ask(lambda channel: _count(channel, self.queue_name), timeout=timeout)

    def _ask(self, question: Callable[[Any], Any], *, timeout: float) -> Any:
        answers: list[Any] = []
        try:
            self._publisher_for(timeout).use(lambda producer: answers.append(question(producer.channel)))
        except Exception as error:  # the driver's edge: whatever a client library raises becomes ours
            raise self.translate(error) from error
        return answers[-1]

    def check(self) -> list[str]:
        """What the app's settings would lose or open. Imports the app if the options name one."""
        conf = self.app.conf
        url = str(conf.broker_write_url)
        return [sentence for is_so, sentence in self._doubts(conf, url) if is_so]

    def _doubts(self, conf: Any, url: str) -> list[tuple[bool, str]]:
        who = f"Queue '{self.alias}' (Celery)"
        accepted = {str(kind).rpartition("/")[2] for kind in conf.accept_content or ()}
        visibility = (conf.broker_transport_options or {}).get("visibility_timeout", SHORTEST_VISIBILITY)
        return [
            (
                not _is_transport(url),
                f"{who}: Celery knows no broker of the kind {url.partition(':')[0]!r}, so nothing can be sent. Begin "
                "the URL with redis://, rediss://, amqp:// or amqps://.",
            ),
            (
                is_exposed(url, uses_tls=bool(conf.broker_use_ssl)),
                f"{who}: the broker is beyond this machine, without a password or without TLS: who can write to it can "
                "start jobs. Use a password and rediss:// or amqps://.",
            ),
            (
                bool(accepted & {"pickle", "x-python-serialize"}),
                f"{who}: accept_content allows pickle, so who can write to the broker runs code. Leave 'json' alone.",
            ),
            (
                "json" not in accepted,
                f"{who}: accept_content has no 'json', so worker processes refuse our messages. Add it.",
            ),
            (
                family(url) == "redis" and visibility < SHORTEST_VISIBILITY,
                f"{who}: visibility_timeout is {visibility} s: Redis delivers every longer job again, to no effect but "
                f"load. Give it {SHORTEST_VISIBILITY} s or more.",
            ),
            (
                bool(conf.task_always_eager),
                f"{who}: task_always_eager has no effect here. In tests use the queue driver 'immediate'.",
            ),
        ]

    def probe(self) -> list[str]:
        """`check`, and on Redis: what it evicts and whether it keeps anything on disk."""
        doubts = self.check()
        if family(self.app.conf.broker_write_url) == "redis":
            doubts += self._ask(lambda channel: _redis_doubts(channel.client), timeout=PROBE_SECONDS)
        else:
            self.ping()
        return [*doubts]

    def close(self) -> None:
        """Close the connections of this process."""
        with self._lock:
            publishers, self._publishers = self._publishers, {}
        for publisher in publishers.values():
            if publisher.pid == os.getpid():
                publisher.close()

    def after_fork(self) -> None:
        """Forget the parent's connections."""
        self._lock = Lock()
        self._publishers = {}


@cache
def _can_bound_confirms() -> bool:
    from kombu.messaging import Producer

    return "confirm_timeout" in inspect.signature(Producer.publish).parameters


def _is_transport(url: str) -> bool:
    from kombu.transport import TRANSPORT_ALIASES

    kind = url.partition("://")[0].partition("+")[0]
    return kind in TRANSPORT_ALIASES or "." in kind or ":" in kind  # or the path of a class


def redis_level(priority: int) -> int:
    """One of kombu's four steps on Redis, of which 0 runs first."""
    return next(level for least, level in ((50, 0), (1, 3), (0, 6), (-100, 9)) if priority >= least)


def rabbit_level(priority: int, most: int) -> int:
    """From 0 to ``most``, of which the highest runs first."""
    return (priority + 100) * most // 200


def _count(channel: Any, queue: str) -> int:
    """Messages that wait; 0 where the queue was never declared."""
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except channel.connection.client.channel_errors:
        return 0


def _redis_doubts(client: Any) -> list[str]:
    memory, disk = client.info("memory"), client.info("persistence")
    doubts = []
    if (policy := memory.get("maxmemory_policy", "noeviction")) != "noeviction":
        doubts.append(f"Redis evicts messages when it is full: maxmemory-policy is {policy}. Set noeviction.")
    if not disk.get("aof_enabled") and _saves_nothing(client):
        doubts.append("Redis keeps nothing on disk: a restart drops all messages, and the sweep must find the jobs.")
    return doubts


def _saves_nothing(client: Any) -> bool:
    from redis.exceptions import ResponseError

    try:
        return not client.config_get("save").get("save")
    except ResponseError:  # hosted services deny CONFIG; they look after it themselves
        return False
