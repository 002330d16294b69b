"""One connection of the NATS driver, with its stream and consumer made sure of. All of it runs in one event loop."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_ais.backends.queue.nats.options import NatsOptions
from django_ais.exceptions import QueueError
from django_ais.queues import QueueMessage

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

logger = logging.getLogger("django_ais.queues")

OLDEST_SERVER = (2, 10)
CONNECT_SECONDS = 2  # for one server; the library's own loop may take more than a minute
CLOSE_SECONDS = 0.5
PULL_SECONDS = 1.0  # how long the server remembers that we want messages
SILENT_SECONDS = 10.0  # it tells the end of each pull: without a word for so long the connection is of no use
LOOK_SECONDS = 0.2  # between looks whether the connection still stands; the library's callback may stay away
PREPARE_TRIES = 3  # two processes may add their subjects to the stream at once
PULL_IS_OVER = ("404", "408")


def wait_before_redelivery(seconds: float) -> bytes:
    """The answer that asks for a message again, not before so many seconds."""
    return b"-NAK " + json.dumps({"delay": int(seconds * 1e9)}).encode() if seconds > 0 else b"-NAK"


async def connect(options: NatsOptions) -> Client:
    """Connect, or raise `QueueError`. Each server is tried twice; no reconnecting: a lost connection is replaced."""
    from nats.aio.client import Client

    client = Client()
    met: deque[Exception] = deque(maxlen=1)

    async def meet(error: Exception) -> None:
        met.append(error)
        if client.is_connected:
            logger.warning("NATS: %s", error)

    try:
        await client.connect(
            options.servers,
            name="django-ais",
            error_cb=meet,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]
            connect_timeout=CONNECT_SECONDS,
            ping_interval=10,
            max_outstanding_pings=2,
            **options.login(),
        )
    except BaseException as error:
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.close()
        if not isinstance(error, Exception):
            raise
        reason = met[-1] if met else error
        text = f"no NATS server takes the connection at {options.shown}: {type(reason).__name__}: {reason}"
        raise QueueError(text, outcome="rejected") from error
    return client


class Session:
    """A connection that sends, and asks for messages when somebody wants them."""

    def __init__(self, client: Client, options: NatsOptions, subject: str, is_stopping: Callable[[], bool]) -> None:
        self.client = client
        self.jetstream: JetStreamContext = client.jetstream(timeout=CONNECT_SECONDS)
        self._names = Names(options, subject)
        self._is_stopping = is_stopping
        self._arrived: deque[Msg] = deque()
        self._woken = asyncio.Event()
        self._interrupted = False
        self._inbox = ""
        self._pulls = 0
        self._wanted = 0  # messages that the server still owes to the last pull
        self._heard = 0.0
        self._trouble = ""

    @classmethod
    async def open(cls, options: NatsOptions, subject: str, is_stopping: Callable[[], bool]) -> Session:
        """Connect and make sure of stream and consumer. Raises `QueueError`."""
        client = await connect(options)
        try:
            session = cls(client, options, subject, is_stopping)
            session._require_server()
            await session._names.prepare(session.jetstream)
        except BaseException:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await client.close()
            raise
        return session

    def _require_server(self) -> None:
        version = self.client.connected_server_version
        if (version.major, version.minor) < OLDEST_SERVER:
            raise QueueError(
                f"the NATS server is {version.major}.{version.minor}; this driver needs "
                f"{OLDEST_SERVER[0]}.{OLDEST_SERVER[1]} or later: update the server",
                outcome="rejected",
            )

    def is_usable(self) -> bool:
        """Whether the connection stands and nothing was found wrong with it."""
        return self.client.is_connected and not self._trouble

    def give_up(self, why: str) -> None:
        """Let the next call begin with a new connection, and make sure of stream and consumer again."""
        self._trouble = why

    async def close(self) -> None:
        """Give back what nobody took, and leave."""
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._leave()

    async def _leave(self) -> None:
        try:
            await self.give_back()
        finally:
            await self.client.close()

    async def publish(self, messages: Sequence[QueueMessage], end: float) -> dict[str, Exception]:
        """Send all, wait until ``end`` (of the loop's clock) for confirmations; the errors by dispatch id."""
        failed: dict[str, Exception] = {}
        sent: dict[str, asyncio.Future[Any]] = {}
        for message in messages:
            try:
                sent[message.dispatch_id] = await self._send(message)
            except Exception as error:  # noqa: BLE001 - told to the caller, message by message
                failed[message.dispatch_id] = error
        await self._await_confirmations(list(sent.values()), end)
        for dispatch_id, confirmation in sent.items():
            if not confirmation.done():
                confirmation.cancel()
                failed[dispatch_id] = TimeoutError("NATS did not confirm it")
            elif isinstance(refusal := confirmation.exception(), Exception):
                failed[dispatch_id] = refusal
        return failed

    async def _await_confirmations(self, sent: list[asyncio.Future[Any]], end: float) -> None:
        """Return when all have come, at the end of the time, or soon after the connection was lost."""
        loop = asyncio.get_running_loop()
        while (missing := [one for one in sent if not one.done()]) and loop.time() < end and not self.client.is_closed:
            await asyncio.wait(missing, timeout=min(end - loop.time(), LOOK_SECONDS))

    async def _send(self, message: QueueMessage) -> asyncio.Future[Any]:
        return await self.jetstream.publish_async(
            self._names.subject,
            message.job_id.encode(),
            stream=self._names.stream,
            headers={"Nats-Msg-Id": message.dispatch_id},
        )

    async def take(self, limit: int, seconds: float) -> list[Msg]:
        """Up to ``limit`` messages; waits at most so many seconds for the first. Raises `QueueError`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        self._interrupted = False
        while not self._arrived:
            self._woken.clear()
            if not self._wanted:
                await self._pull(limit)
            left = end - loop.time()
            if left <= 0 or self._interrupted:
                return []
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._woken.wait()
            if not self._arrived:
                self._require_word(loop.time())
        return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    def _require_word(self, instant: float) -> None:
        if not self._trouble and self.client.is_closed:
            self.give_up("the connection was lost")
        if not self._trouble and instant - self._heard > SILENT_SECONDS:
            self.give_up(f"the server said nothing for {SILENT_SECONDS:g} s")
        if self._trouble:
            raise QueueError(f"NATS gives no messages: {self._trouble}", outcome="rejected")

    async def _pull(self, limit: int) -> None:
        """Ask for messages. One request at a time stands at the server, never for more than there are free slots."""
        if not self._pulls:
            self._inbox = self.client.new_inbox()
            await self.client.subscribe(f"{self._inbox}.*", cb=self._hear)
        self._pulls += 1
        self._wanted = limit
        self._heard = asyncio.get_running_loop().time()
        request = {"batch": limit, "expires": int(PULL_SECONDS * 1e9)}
        await self.client.publish(self._names.next, json.dumps(request).encode(), f"{self._inbox}.{self._pulls}")

    async def _hear(self, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        status = (message.headers or {}).get("Status")
        if status is None:
            self._wanted = max(self._wanted - 1, 0)
            self._arrived.append(message)
            if self._is_stopping():
                await self.give_back()
        elif message.subject == f"{self._inbox}.{self._pulls}":  # not of a pull before
            self._wanted = 0
            if status not in PULL_IS_OVER:
                self.give_up(f"{status} {(message.headers or {}).get('Description', 'nobody answers')}")
        self._woken.set()

    def interrupt(self) -> None:
        """Let a waiting `take` return now. What it asked for stays asked for."""
        self._interrupted = True
        self._woken.set()

    async def give_back(self) -> None:
        """Let other processes have what arrived and nobody took, once our own last request is over."""
        while self._arrived:
            await self.client.publish(self._arrived.popleft().reply, wait_before_redelivery(PULL_SECONDS))

    async def waiting(self) -> int:
        """How many messages were not delivered yet."""
        info = await self.jetstream.consumer_info(self._names.stream, self._names.consumer)
        return info.num_pending or 0

    async def weaknesses(self) -> list[str]:
        """Sentences about how the server keeps the stream."""
        config = (await self.jetstream.stream_info(self._names.stream)).config
        name, found = self._names.stream, []
        if config.storage != "file":
            found.append(f"Stream '{name}' lives in the server's memory: a restart of it loses all waiting messages.")
        if any((limit or 0) > 0 for limit in (config.max_msgs, config.max_bytes, config.max_age)):
            found.append(f"Stream '{name}' has limits (max_msgs, max_bytes or max_age), beyond which messages vanish.")
        if config.storage == "file" and (config.num_replicas or 1) == 1:
            found.append(
                f"Stream '{name}' has one replica. Unless the server's jetstream block says `sync_interval: always`, "
                "a power failure loses what came in the last two minutes; the sweep announces those jobs again."
            )
        return found


@dataclass(frozen=True)
class Names:
    """What the server has to have for one queue alias."""

    options: NatsOptions
    subject: str

    @property
    def stream(self) -> str:
        return self.options.stream

    @property
    def consumer(self) -> str:
        """One durable consumer for each subject."""
        return self.subject.replace(".", "-")

    @property
    def next(self) -> str:
        """Where messages are asked for."""
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.consumer}"

    async def prepare(self, jetstream: JetStreamContext) -> None:
        """Make sure of stream and consumer; what is there already is kept. Raises `QueueError`."""
        from nats.errors import NoRespondersError
        from nats.js.errors import BadRequestError, NotFoundError, ServiceUnavailableError

        for left in reversed(range(PREPARE_TRIES)):
            try:
                await self._make_stream(jetstream)
                await self._make_consumer(jetstream)
            except (ServiceUnavailableError, NoRespondersError) as error:
                raise QueueError(
                    "the NATS server has no JetStream, or none that is ready: put `jetstream {}` into its "
                    "configuration, with a `store_dir`",
                    outcome="rejected",
                ) from error
            except (BadRequestError, NotFoundError):
                if not left:
                    raise
            else:
                return

    async def _make_stream(self, jetstream: JetStreamContext) -> None:
        from nats.js.api import RetentionPolicy, StorageType, StreamConfig
        from nats.js.errors import NotFoundError

        try:
            config = (await jetstream.stream_info(self.stream)).config
        except NotFoundError:
            await jetstream.add_stream(
                StreamConfig(
                    name=self.stream,
                    subjects=[self.subject],
                    retention=RetentionPolicy.WORK_QUEUE,
                    storage=StorageType.FILE,
                    num_replicas=self.options.replicas,
                )
            )
            return
        if config.retention != RetentionPolicy.WORK_QUEUE:
            raise QueueError(
                f"NATS has a stream '{self.stream}' that is no work queue (retention {config.retention}): name another "
                "one in OPTIONS['stream']",
                outcome="rejected",
            )
        if self.subject not in (config.subjects or []):
            await jetstream.update_stream(config.evolve(subjects=[*(config.subjects or []), self.subject]))

    async def _make_consumer(self, jetstream: JetStreamContext) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig

        await jetstream.add_consumer(
            self.stream,
            ConsumerConfig(
                name=self.consumer,
                durable_name=self.consumer,
                filter_subject=self.subject,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=self.options.ack_wait_seconds,
                max_deliver=-1,  # what dies with its worker processes is for the core to tell
                max_ack_pending=-1,  # messages that wait for their next delivery would stop all others at a limit
            ),
        )
