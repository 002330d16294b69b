"""The contract of a bus driver: it carries hints about what is already committed. Pure: no Django.

**What a driver promises.** `BaseBus.publish` may be called from any thread and process, before and after a fork, blocks
for at most a moment and never raises for a broker's failure: it counts, logs and goes on. `BaseBus.subscribe` returns
only after the broker acknowledged the subscription, and yields `Reconnected` before the next item whenever the link was
down, for whatever reason.

**What it need not promise.** Delivery, order, or once only. The reader numbers, repairs and deduplicates from the rows,
so a bus may lose, repeat and reorder. Permission and encoding are the core's too: a driver sees topics and bytes.

**A frame is not trusted.** Whoever can write to the broker could write anything, so a frame that carries an event is
signed (over its topic and its bytes, which hold the run and the number) with a key of the project's ``SECRET_KEY``. A
frame without a right signature only says that there may be rows to read.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel

from django_ais.drivers import NoOptions, parse_options
from django_ais.events import Envelope

logger = logging.getLogger("django_ais.bus")

SIGNATURE_BYTES = 16  # of an HMAC-SHA256; written in hexadecimal before the frame's JSON


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The link was down: anything may have been missed."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something was committed: the event itself, or only its number (``envelope`` is None: read the row)."""

    topic: str
    run: UUID
    seq: int
    envelope: Envelope | None = None


class Subscription:
    """What a process listens to. To write: `add`, `discard`, `frames` and `close`."""

    keys: Sequence[bytes] = ()  # what a frame's signature may be made with; set by `BaseBus.subscribe`

    async def add(self, topics: Iterable[str]) -> None:
        """Listen to more topics; returns after the broker acknowledged."""
        raise NotImplementedError

    async def discard(self, topics: Iterable[str]) -> None:
        """Stop listening to these; frames already under way may still arrive."""
        raise NotImplementedError

    def frames(self) -> AsyncIterator[tuple[str, bytes] | Reconnected]:
        """Frames as they arrive, until `close`."""
        raise NotImplementedError

    async def close(self) -> None:
        """End the iteration and let go of the connection."""
        raise NotImplementedError

    async def __aiter__(self) -> AsyncIterator[Hint | Reconnected]:
        async for frame in self.frames():
            if isinstance(frame, Reconnected):
                yield frame
            elif (hint := decode(*frame, keys=self.keys)) is not None:
                yield hint


class BaseBus:
    """A bus driver. To write: `_publish` and `_subscribe`."""

    options_class: ClassVar[type[BaseModel]] = NoOptions

    crosses_processes: ClassVar[bool] = True  # Does a frame reach other processes?
    carries_payload: ClassVar[bool] = True  # Does it carry the event, or only wake the reader up?
    detects_reconnect: ClassVar[bool] = True  # Does the driver notice every loss of the link?
    max_inline_bytes: ClassVar[int] = 64 * 1024  # How large may a frame be? Larger ones travel as a reference.

    def __init__(
        self,
        alias: str = "default",
        options: Mapping[str, Any] | None = None,
        *,
        source: str = "",
        keys: Sequence[bytes] = (),
    ) -> None:
        """``keys`` sign frames (the first) and verify them (any). Without one, as in a test of a driver alone, frames
        are neither signed nor verified.
        """
        self.alias = alias
        self.keys = tuple(keys)
        self.source_path = source
        self.options = parse_options(self.options_class, options, alias=alias, driver=type(self))

    def wants(self, topic: str) -> bool:
        """Whether anybody may be listening; False where the driver knows that nobody is."""
        return True

    def publish(self, topic: str, envelopes: Sequence[Envelope]) -> int:
        """Tell subscribers of committed events; return how many frames the broker took. Never raises for its
        failure.
        """
        frames = [self.encode(topic, envelope) for envelope in envelopes]
        try:
            return self._publish(topic, frames)
        except Exception:  # a bus is a hint: its failure must not reach the job
            logger.warning("bus '%s' lost %d frames of topic %s", self.alias, len(frames), topic, exc_info=True)
            return 0

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        raise NotImplementedError

    async def subscribe(self, topics: Iterable[str]) -> Subscription:
        """Listen to topics. Returns after the broker acknowledged; raises `BusError` if it cannot be reached."""
        subscription = await self._subscribe()
        subscription.keys = self.keys
        try:
            await subscription.add(topics)
        except BaseException:  # a cancelled one too must not keep its connection
            await subscription.close()
            raise
        return subscription

    async def _subscribe(self) -> Subscription:
        raise NotImplementedError

    def encode(self, topic: str, envelope: Envelope) -> bytes:
        """The frame of an envelope: itself, signed, or a reference where it is too large or the bus carries no
        payload.
        """
        if self.carries_payload:
            frame = envelope.model_dump_json().encode()
            if self.keys:
                frame = sign(self.keys[0], topic, frame) + frame
            if len(frame) <= self.max_inline_bytes:
                return frame
        return json.dumps({"run": str(envelope.run), "seq": envelope.seq}).encode()

    def check(self) -> list[str]:
        """Sentences about settings that would lose frames, without touching the network."""
        return []

    def close(self) -> None:
        """Let go of connections and threads. May be called twice, from any thread."""


def sign(key: bytes, topic: str, frame: bytes) -> bytes:
    """The signature that goes before a frame."""
    return hmac.digest(key, topic.encode() + b"\0" + frame, "sha256")[:SIGNATURE_BYTES].hex().encode()


def decode(topic: str, frame: bytes, *, keys: Sequence[bytes] = ()) -> Hint | None:
    """What a frame says; None if it is not one of ours. Of one whose signature is missing or wrong, the number alone:
    it wakes the reader up.
    """
    signature, body = _parts(frame)
    try:
        document = json.loads(body)
        run, seq = UUID(document["run"]), int(document["seq"])
        if "type" not in document or not _is_signed(keys, topic, signature, body):
            return Hint(topic, run, seq)
        return Hint(topic, run, seq, Envelope.model_validate(document))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        logger.warning("a frame on topic %s is not one of ours", topic)
        return None


def _parts(frame: bytes) -> tuple[bytes, bytes]:
    if frame[:1] == b"{":
        return b"", frame
    return frame[: 2 * SIGNATURE_BYTES], frame[2 * SIGNATURE_BYTES :]


def _is_signed(keys: Sequence[bytes], topic: str, signature: bytes, body: bytes) -> bool:
    return not keys or any(hmac.compare_digest(sign(key, topic, body), signature) for key in keys)
