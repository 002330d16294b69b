"""The contract of a bus driver: it carries hints about what is already committed. Pure: no Django.

**What a driver promises.** `BaseBus.publish` may be called from any thread and process, before and after a fork, blocks
for at most a moment and never raises for a broker's failure: it counts, logs and goes on. `BaseBus.subscribe` returns
only after the broker acknowledged the subscription, and yields `Reconnected` before the next item whenever the link was
down, for whatever reason.

**What it need not promise.** Delivery, order, or once only. The reader numbers, repairs and deduplicates from the rows,
so a bus may lose, repeat and reorder. Permission and encoding are the core's too: a driver sees topics and bytes.
"""

from __future__ import annotations

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
    """What a process listens to. To write: `add`, `discard`, `__aiter__` (topic and bytes, or `Reconnected`),
    `close`.
    """

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
            elif (hint := decode(*frame)) is not None:
                yield hint


class BaseBus:
    """A bus driver. To write: `_publish` and `_subscribe`."""

    options_class: ClassVar[type[BaseModel]] = NoOptions

    crosses_processes: ClassVar[bool] = True  # Does a frame reach other processes?
    carries_payload: ClassVar[bool] = True  # Does it carry the event, or only wake the reader up?
    detects_reconnect: ClassVar[bool] = True  # Does the driver notice every loss of the link?
    max_inline_bytes: ClassVar[int] = 64 * 1024  # How large may a frame be? Larger ones travel as a reference.

    def __init__(self, alias: str = "default", options: Mapping[str, Any] | None = None, *, source: str = "") -> None:
        self.alias = alias
        self.source_path = source
        self.options = parse_options(self.options_class, options, alias=alias, driver=type(self))

    def publish(self, topic: str, envelopes: Sequence[Envelope]) -> int:
        """Tell subscribers of committed events; return how many frames the broker took. Never raises for its
        failure.
        """
        frames = [self.encode(envelope) for envelope in envelopes]
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
        await subscription.add(topics)
        return subscription

    async def _subscribe(self) -> Subscription:
        raise NotImplementedError

    def encode(self, envelope: Envelope) -> bytes:
        """The frame of an envelope: itself, or a reference where it is too large or the bus carries no payload."""
        if self.carries_payload:
            frame = envelope.model_dump_json().encode()
            if len(frame) <= self.max_inline_bytes:
                return frame
        return json.dumps({"run": str(envelope.run), "seq": envelope.seq}).encode()

    def check(self) -> list[str]:
        """Sentences about settings that would lose frames, without touching the network."""
        return []

    def close(self) -> None:
        """Let go of connections and threads. May be called twice, from any thread."""


def decode(topic: str, frame: bytes) -> Hint | None:
    """What a frame says; None if it is not one of ours. A frame is a hint: nothing in it is believed without its
    row.
    """
    try:
        document = json.loads(frame)
        envelope = Envelope.model_validate(document) if "type" in document else None
        return Hint(topic, UUID(document["run"]), int(document["seq"]), envelope)
    except (ValueError, KeyError, TypeError):
        logger.warning("a frame on topic %s is not one of ours", topic)
        return None
