"""The NATS driver."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from django_ais.backends.queue.nats.link import MARGIN_SECONDS, Link
from django_ais.backends.queue.nats.options import NatsOptions
from django_ais.backends.queue.nats.session import CONNECT_SECONDS, Session, wait_before_redelivery
from django_ais.exceptions import PartialEnqueueError
from django_ais.queues import PullQueue, QueueMessage

logger = logging.getLogger("django_ais.queues")

ANSWER_SECONDS = 2.0

ACK, PROGRESS, TERM = b"+ACK", b"+WPI", b"+TERM"


class NatsQueue(PullQueue):
    """JetStream, consumed by ``manage.py ais_worker``. Callable from any thread, also after a fork."""

    options_class = NatsOptions
    needs = ("nats",)

    reserves_ahead: ClassVar[int] = 16  # how many more than there are free slots, while jobs take milliseconds

    supports_bulk: ClassVar[bool] = True  # Is a batch one round trip?
    redelivers_on_worker_loss: ClassVar[bool] = True  # Does the engine itself deliver again when a process dies?
    redelivery_delay: ClassVar[float | None] = 60.0  # ... after how many seconds? `ack_wait_seconds`.
    supports_touch: ClassVar[bool] = True  # Can a running delivery be extended?
    supports_depth: ClassVar[bool] = True  # Can the engine say how many messages wait?
    supports_purge: ClassVar[bool] = True  # Can all waiting messages be dropped?
    confirms_enqueue: ClassVar[bool] = True  # Does the broker acknowledge the write?

    error_map = {
        "nats.errors.ConnectionClosedError": "rejected",
        "nats.errors.MaxPayloadError": "rejected",
        "nats.errors.NoRespondersError": "rejected",
        "nats.js.errors.NoStreamResponseError": "rejected",
        "nats.js.errors.BadRequestError": "rejected",
        "nats.js.errors.ServiceUnavailableError": "rejected",
        "nats.errors.TimeoutError": "unknown",
        "builtins.TimeoutError": "unknown",
    }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.redelivery_delay = self.options.ack_wait_seconds  # type: ignore[misc]
        self.touch_seconds = min(20.0, self.options.ack_wait_seconds / 3)  # type: ignore[misc]
        self.subject: str = self.options.subject or f"ais.{re.sub('[^a-z0-9_-]', '-', self.alias.lower())}"
        self._links: dict[int, Link] = {}  # by process id; a parent's must not be touched in a child, not even to close

    @property
    def _link(self) -> Link:
        pid = os.getpid()
        return self._links.get(pid) or self._links.setdefault(pid, Link(self.options, self.subject))

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        link = self._link
        failed = link.call(lambda: link.publish(messages, within=timeout), timeout + MARGIN_SECONDS)
        if not failed:
            return
        error = next(iter(failed.values()))
        if len(failed) == len(messages):
            raise error
        accepted = [message.dispatch_id for message in messages if message.dispatch_id not in failed]
        raise PartialEnqueueError(str(self.translate(error)), accepted=accepted, failed=list(failed)) from error

    def _run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        link = self._link
        link.stopping = stop
        threading.Thread(target=self._hand_back, args=(link, stop), name="ais-nats-give-back", daemon=True).start()
        try:
            return super()._run_worker(concurrency=concurrency, stop=stop)
        finally:
            self.close()

    def _hand_back(self, link: Link, stop: threading.Event) -> None:
        stop.wait()
        with suppress(Exception):  # what is not given back comes again by itself
            link.call(link.give_back, ANSWER_SECONDS)

    def _reserve(self, *, limit: int, timeout: float) -> Sequence[Held]:
        link = self._link
        try:
            taken = link.call(lambda: link.take(limit, timeout), timeout + 2 * CONNECT_SECONDS)
        except Exception as error:
            raise self.translate(error) from error
        return [Held(link, message.data.decode(errors="replace"), message.reply) for message in taken]

    def _interrupt(self) -> None:
        if (link := self._links.get(os.getpid())) is not None:
            link.interrupt()

    def depth(self) -> int:
        """How many messages were not delivered yet."""
        return int(self._asked(lambda session: session.waiting()))

    def ping(self, *, timeout: float = 5.0) -> None:
        """Raise `QueueError` if the server cannot be reached, or has no JetStream."""
        self._asked(lambda session: session.client.flush(), timeout)

    def _purge(self) -> None:
        self._asked(lambda session: session.jetstream.purge_stream(self.options.stream, subject=self.subject))

    def _asked(self, question: Callable[[Session], Coroutine[Any, Any, Any]], timeout: float = 5.0) -> Any:
        link = self._link

        async def ask() -> Any:
            return await question(await link.session())

        try:
            return link.call(ask, timeout)
        except Exception as error:
            raise self.translate(error) from error

    def check(self) -> list[str]:
        """Sentences about a server beyond this machine that anybody may write to or listen at."""
        options: NatsOptions = self.options
        outside = [place for place in options.places if place.hostname not in ("localhost", "127.0.0.1", "::1")]
        found = []
        if outside and not options.has_login():
            found.append(
                f"Queue '{self.alias}': the NATS server is on another machine and nobody logs in there: whoever "
                "reaches it can take the messages. Set user and password, token or credentials_file in OPTIONS."
            )
        if any(place.scheme not in ("tls", "wss") for place in outside):
            found.append(
                f"Queue '{self.alias}': the way to the NATS server is not encrypted. Write tls:// in OPTIONS['url']."
            )
        if len(options.places) > 1 and options.replicas == 1:
            found.append(
                f"Queue '{self.alias}': a cluster keeps the stream '{options.stream}' on one server only. "
                "Set OPTIONS['replicas'] to 3, or its messages are out of reach while that server is."
            )
        return found

    def probe(self) -> list[str]:
        """`check`, and how the server keeps the stream. Raises `QueueError`."""
        return [*self.check(), *self._asked(lambda session: session.weaknesses())]

    def close(self) -> None:
        """Close the connection, end the thread; the next call begins anew. May be called twice, from any thread."""
        if (link := self._links.pop(os.getpid(), None)) is not None:
            link.close()


@dataclass
class Held:
    """A message that this process holds. It is answered on whatever connection there is then; an answer that does not
    reach the server lets the message come again, which the handler is safe against.
    """

    link: Link
    job_id: str
    reply: str

    def ack(self) -> None:
        """Done."""
        self._answer(ACK)

    def nack(self, delay: float) -> None:
        """Deliver it again, not before so many seconds."""
        self._answer(wait_before_redelivery(delay))

    def reject(self) -> None:
        """Drop it."""
        self._answer(TERM)

    def touch(self) -> None:
        """Start the time anew after which it is delivered again."""
        self._answer(PROGRESS)

    def _answer(self, word: bytes) -> None:
        try:
            self.link.post(lambda: self.link.answer(self.reply, word), failed=lambda: self._mourn(word))
        except RuntimeError:  # the process is leaving: it must not raise; nothing is lost but time
            self._mourn(word)

    def _mourn(self, word: bytes) -> None:
        logger.warning("NATS was not told %s for job %s", word.decode(), self.job_id, exc_info=True)
