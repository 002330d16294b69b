"""The bus driver that all others are made from."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from django_ais.breaker import Breaker
from django_ais.buses.frames import Hint, Reconnected, decode, sign
from django_ais.drivers import NoOptions, parse_options
from django_ais.events import Envelope

logger = logging.getLogger("django_ais.bus")

SLOW_SECONDS = 0.5  # a failure that took longer is one too many


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

    needs: ClassVar[Sequence[str]] = ()
    """Top-level modules of the client library, where the driver imports it only when it connects. If one is not
    installed, settings that name the driver are refused.
    """

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
        self.published = 0  # frames that the broker took from this process
        self.lost = 0  # frames that it did not take
        self._breaker = Breaker()

    def wants(self, topic: str) -> bool:
        """Whether anybody may be listening; False where the driver knows that nobody is."""
        return True

    def publish(self, topic: str, envelopes: Sequence[Envelope]) -> int:
        """Tell subscribers of committed events; return how many frames the broker took. Never raises for its failure.

        After a few failures in a row, or one that took its time, the broker is left alone for two seconds, so that jobs
        do not wait for it.
        """
        if self._breaker.is_open():
            self.lost += len(envelopes)
            return 0
        frames = [self.encode(topic, envelope) for envelope in envelopes]
        begun = time.monotonic()
        try:
            taken = self._publish(topic, frames)
        except Exception:  # a bus is a hint: its failure must not reach the job
            self._breaker.failed(at_once=time.monotonic() - begun > SLOW_SECONDS)
            self.lost += len(frames)
            logger.warning("bus '%s' lost %d frames of topic %s", self.alias, len(frames), topic, exc_info=True)
            return 0
        self._breaker.succeeded()
        self.published += taken
        return taken

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        """Hand frames to the broker; return how many it took. May raise whatever the client library raises."""
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
        """A subscription without topics, linked to the broker. Raises `BusError` if it cannot be reached."""
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

    def probe(self) -> list[str]:
        """`check`, and what only the running broker can tell. For ``manage.py ais_doctor``; may raise `BusError`."""
        return self.check()

    def close(self) -> None:
        """Let go of connections and threads. May be called twice, from any thread."""
