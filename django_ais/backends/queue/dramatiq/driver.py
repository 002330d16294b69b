"""The driver: sends messages, and answers for those that a worker process received."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import dramatiq
from pydantic import BaseModel, ConfigDict, Field, field_validator

from django_ais.backends.queue.dramatiq import brokers
from django_ais.backends.queue.dramatiq.process import ProcessLife, message_in_hand
from django_ais.backends.queue.dramatiq.sending import Sender
from django_ais.exceptions import AisError, ConfigurationError, PartialEnqueueError, QueueError
from django_ais.queues import BaseQueue, Disposition, QueueMessage, retry_in

logger = logging.getLogger("django_ais.queues")

DEFAULT_URL = "redis://localhost:6379/0"
QUEUE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*(?<!\.[DX]Q)")  # dramatiq's rule, and its suffixes are its own
AGAIN_SECONDS = 5.0  # for the broker to take a message back
BROKEN_SECONDS = 10.0  # come again: something around the handler is broken, a deploy perhaps
SHUTDOWN_MS = 1000  # for threads whose jobs were handed back
ACTOR_OPTIONS: dict[str, Any] = {
    "max_retries": 0,
    "time_limit": float("inf"),
    "max_age": None,
    "notify_shutdown": False,
    "store_results": False,
}

T = TypeVar("T")


@dataclass(frozen=True)
class Connected:
    """What a driver has in one process."""

    pid: int
    broker: Any  # a dramatiq.Broker; its subclasses are hardly typed
    sender: Sender
    life: ProcessLife


class DramatiqOptions(BaseModel):
    """Which broker and queue; how many processes. ``url`` left out: the broker that the project has set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str | None = Field(default=None, description="The broker's name of the queue; `ais.<alias>` if left out.")
    url: str | None = Field(
        default=None,
        repr=False,
        description="`redis://` or `amqp://`; left out: the project's broker, else `redis://localhost:6379/0`.",
    )
    processes: int = Field(default=1, ge=1, description="Worker processes that one `ais_worker` starts.")
    heartbeat_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Redis: messages of a process that is silent for so long are delivered again. Only with `url`.",
    )
    maintenance_chance: int = Field(
        default=100_000,
        ge=0,
        le=1_000_000,
        description="Redis: how many commands of a million look for such messages. Only with `url`.",
    )

    @field_validator("queue")
    @classmethod
    def _check_queue(cls, name: str | None) -> str | None:
        if name is not None and not QUEUE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no queue name of dramatiq's: letters, digits, '.', '_' and '-' alone")
        return name

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://", "amqp://", "amqps://")):
            raise ValueError("begins with redis://, rediss://, unix://, amqp:// or amqps://")
        return url


class DramatiqQueue(BaseQueue):
    """Messages through a dramatiq broker; jobs in dramatiq's worker processes.

    May lose messages (Redis without persistence), repeat them (a dead process, an unclear answer) and reorder them. A
    message is acknowledged only after the handler has returned, and never for an error around it.
    """

    options_class = DramatiqOptions

    supports_depth: ClassVar[bool] = True  # Can the engine say how many messages wait?
    supports_purge: ClassVar[bool] = True  # Can all waiting messages be dropped?
    redelivers_on_worker_loss: ClassVar[bool] = True  # Does the engine itself deliver again when a process dies?
    confirms_enqueue: ClassVar[bool] = True  # Does the broker acknowledge the write?

    max_batch: ClassVar[int] = 100

    error_map: ClassVar[Mapping[str, Literal["rejected", "unknown"]]] = {
        "redis.exceptions.ResponseError": "rejected",
        "redis.exceptions.AuthenticationError": "rejected",
        "redis.exceptions.BusyLoadingError": "rejected",
        "pika.exceptions.ProbableAuthenticationError": "rejected",
        "pika.exceptions.ProbableAccessDeniedError": "rejected",
        "pika.exceptions.ChannelClosedByBroker": "rejected",
        "pika.exceptions.UnroutableError": "rejected",
        "pika.exceptions.NackError": "rejected",
        "dramatiq.errors.QueueNotFound": "rejected",
        "dramatiq.errors.ConnectionFailed": "rejected",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue_name: str = self.options.queue or f"ais.{self.alias}"
        if not QUEUE_NAME.fullmatch(self.queue_name):
            raise ConfigurationError(
                f"Queue '{self.alias}': dramatiq takes no queue named {self.queue_name!r}. "
                "Name one of letters, digits, '.', '_' and '-' in OPTIONS['queue']."
            )
        self.actor_name = f"django_ais:{self.queue_name}"
        self._lock = threading.Lock()
        self._connected: Connected | None = None

    @property
    def broker(self) -> Any:  # a dramatiq.Broker
        """The broker, with our actor declared: made, or found, when first needed in a process."""
        return self._here().broker

    def _here(self) -> Connected:
        with self._lock:
            if self._connected is None or self._connected.pid != os.getpid():
                broker = self._find_broker()
                life = self._declare(broker)
                sender = Sender(self.alias, lambda: brokers.keep_alive(broker))
                self._connected = Connected(os.getpid(), broker, sender, life)
            return self._connected

    def _find_broker(self) -> Any:
        if self.options.url is None and (found := brokers.project_broker()) is not None:
            return found
        try:
            return brokers.own_broker(
                self.options.url or DEFAULT_URL,
                heartbeat_seconds=self.options.heartbeat_seconds,
                maintenance_chance=self.options.maintenance_chance,
            )
        except ImportError as error:
            raise ConfigurationError(
                f"Queue '{self.alias}': {error}. Try: pip install 'dramatiq[redis]', or 'dramatiq[rabbitmq]' for amqp."
            ) from error

    def _declare(self, broker: Any) -> ProcessLife:
        """Let the broker know the actor, in every process: one that consumes the queue without it would drop all."""
        found = [middleware for middleware in broker.middleware if isinstance(middleware, ProcessLife)]
        life = found[0] if found else ProcessLife(lambda: self.host)
        if not found:
            broker.add_middleware(life)
        life.actors.add(self.actor_name)
        broker.actors.pop(self.actor_name, None)
        options = {name: value for name, value in ACTOR_OPTIONS.items() if name in broker.actor_options}
        dramatiq.actor(broker=broker, actor_name=self.actor_name, queue_name=self.queue_name, **options)(self._run)
        return life

    def _run(self, job_id: object) -> None:
        """The actor: ask the handler, and do what it answers."""
        message = message_in_hand()
        try:
            outcome = self.handler(str(job_id))
        except Exception:  # the engine's edge: a broken deploy must not eat messages
            logger.exception("queue '%s': the handler failed; the message comes again", self.alias)
            outcome = retry_in(BROKEN_SECONDS)
        if outcome.disposition is Disposition.REJECT:
            message.fail()
        elif outcome.disposition is Disposition.RETRY:
            self._deliver_again(message, outcome.delay)

    def _deliver_again(self, message: Any, delay: float) -> None:
        connected = self._here()
        held = int(delay * 1000) or None
        try:
            connected.sender.call(lambda: connected.broker.enqueue(message.copy(), delay=held), timeout=AGAIN_SECONDS)
        except Exception:  # whatever the broker raises: kept among the dead letters, and the sweep finds the job
            logger.warning("queue '%s' could not take a message back", self.alias, exc_info=True)
            message.fail()

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        connected = self._here()
        accepted: list[str] = []
        end = time.monotonic() + timeout

        def send() -> None:
            for message in messages:
                if time.monotonic() >= end:
                    raise QueueError(f"queue '{self.alias}' took too long", outcome="rejected")
                connected.broker.enqueue(self._message(message))
                accepted.append(message.dispatch_id)

        try:
            connected.sender.call(send, timeout=timeout)
        except Exception as error:  # the driver's edge: `enqueue` translates, and must hear what was taken
            taken = list(accepted)
            if not taken:
                raise
            failed = [message.dispatch_id for message in messages[len(taken) :]]
            raise PartialEnqueueError(str(self.translate(error)), accepted=taken, failed=failed) from error

    def _message(self, message: QueueMessage) -> dramatiq.Message[None]:
        return dramatiq.Message(
            queue_name=self.queue_name,
            actor_name=self.actor_name,
            args=(message.job_id,),
            kwargs={},
            options={},
            message_id=message.dispatch_id,
        )

    def translate(self, error: Exception) -> AisError:
        """As `BaseQueue.translate`; dramatiq wraps what pika raised into a ConnectionClosed, even a refusal."""
        inner = getattr(error, "message", None)
        return super().translate(inner if isinstance(inner, Exception) else error)

    def worker_command(self, *, concurrency: int) -> list[str]:
        """Dramatiq's own command line: ``processes`` of ``concurrency`` threads each."""
        module = "django_ais.contrib.dramatiq"
        return [
            *(sys.executable, "-m", "dramatiq", module if "." in self.alias else f"{module}:{self.alias}"),
            *("-p", str(self.options.processes), "-t", str(concurrency), "-Q", self.queue_name),
            *("--worker-shutdown-timeout", str(SHUTDOWN_MS)),
        ]

    def register_task(self) -> None:
        """Declare the actor on the broker. In a worker process it is consumed from then on."""
        self._here()

    def install(self) -> None:
        """Make this queue's broker the global one of the process, for a command line that names none."""
        dramatiq.set_broker(self.broker)

    def depth(self) -> int | None:
        """Messages that nobody has fetched yet, those that are held back included; None for other brokers."""
        return self._ask(lambda: brokers.depth(self.broker, self.queue_name))

    def _purge(self) -> None:
        self._ask(lambda: brokers.flush(self.broker, self.queue_name))

    def ping(self, *, timeout: float = 5.0) -> None:
        """Raise `QueueError` if the broker cannot be reached."""
        self._ask(lambda: brokers.ping(self.broker), timeout=timeout)

    def _ask(self, work: Callable[[], T], *, timeout: float = 5.0) -> T:
        try:
            return self._here().sender.call(work, timeout=timeout)
        except Exception as error:  # the driver's edge: whatever a client library raises becomes ours
            raise self.translate(error) from error

    def check(self) -> list[str]:
        """A broker that nobody named, no publisher confirms, an open broker beyond this machine."""
        found: list[str] = []
        project = brokers.project_broker() if self.options.url is None else None
        if self.options.url is None and project is None:
            found.append(
                f"Queue '{self.alias}' has no url and the project has set no dramatiq broker here: {DEFAULT_URL} is "
                "used. A worker process with another broker would hear nothing; set OPTIONS['url']."
            )
        if project is not None and brokers.kind_of(project) == "rabbitmq" and not project.confirm_delivery:
            found.append(
                f"Queue '{self.alias}' sends to RabbitMQ without confirms, so that messages may vanish while it is "
                "short of memory: set confirm_delivery=True on the project's broker."
            )
        if self.options.url is not None and brokers.is_open(self.options.url):
            found.append(
                f"Queue '{self.alias}' uses a broker on another machine without password or TLS. Whoever can write "
                "there can make worker processes call any actor they know."
            )
        return found

    def probe(self) -> list[str]:
        """`check`, and whether a Redis evicts keys or forgets all at a restart."""
        self.ping()
        return [*self.check(), *self._ask(lambda: brokers.faults(self.broker, self.alias))]

    def close(self) -> None:
        """Let go of the sending thread and its connections."""
        with self._lock:
            connected, self._connected = self._connected, None
        if connected is None or connected.pid != os.getpid():
            return
        broker, life = connected.broker, connected.life
        broker.actors.pop(self.actor_name, None)
        life.actors.discard(self.actor_name)
        if not life.actors and life in broker.middleware:
            broker.middleware.remove(life)
        connected.sender.close(lambda: brokers.disconnect(broker))

    def after_fork(self) -> None:
        """Forget the parent's broker and thread."""
        self._lock = threading.Lock()
        self._connected = None
