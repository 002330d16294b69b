"""Frames on a bus are signed: whoever can write to the broker can wake a reader up, and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from django_ais.buses import BaseBus, Hint, LinkedSubscription, decode
from django_ais.events import Envelope

RUN = UUID("01890000-0000-7000-8000-000000000001")
KEYS = [b"new key", b"old key"]
ENVELOPE = Envelope(
    seq=3, run=RUN, job=RUN, tenant="a", type="message.delta", time=datetime(2026, 1, 1, tzinfo=UTC), data={"text": "ä"}
)


class Kept(BaseBus):
    """Keeps what it is given."""

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        self.frames = list(frames)
        return len(frames)


def frame_of(keys: Sequence[bytes], topic: str = "t") -> bytes:
    bus = Kept(keys=keys)
    bus.publish(topic, [ENVELOPE])
    return bus.frames[0]


def test_a_signed_frame_is_the_event():
    """Given a frame signed with the present key or the one before it, when it is read, then it is the event."""
    for key in KEYS:
        assert decode("t", frame_of([key]), keys=KEYS) == Hint("t", RUN, 3, ENVELOPE)


@pytest.mark.parametrize(
    "frame",
    [
        frame_of([b"another key"]),
        frame_of([]),
        frame_of(KEYS, topic="of another run"),
        frame_of(KEYS).replace(b'"seq":3', b'"seq":4'),
        frame_of(KEYS).replace("ä".encode(), b"x"),
        b"0" * 32 + frame_of([]),
    ],
    ids=["key", "unsigned", "topic", "number", "text", "zeros"],
)
def test_a_frame_with_a_wrong_signature_only_wakes_up(frame):
    """Given a frame that somebody made, moved or changed, when it is read, then only its number is left."""
    hint = decode("t", frame, keys=KEYS)

    assert hint is not None
    assert (hint.run, hint.envelope) == (RUN, None)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[]",
        b"x" * 40,
        b'{"run": 1, "seq": 2}',
        json.dumps({"run": str(RUN), "seq": "x"}).encode(),
        b'{"run": "%s", "seq": 1e999}' % str(RUN).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_frame_is_ignored(frame: Any):
    """Given bytes that are no frame of ours, when they are read, then there is nothing, and no error."""
    assert decode("t", frame, keys=KEYS) is None


def test_a_large_event_travels_as_its_number():
    """Given an event larger than a frame may be, when it is published, then the frame is a reference."""

    class Small(Kept):
        max_inline_bytes = 100

    bus = Small(keys=KEYS)
    bus.publish("t", [ENVELOPE])

    assert decode("t", bus.frames[0], keys=KEYS) == Hint("t", RUN, 3)


class Swallowing(LinkedSubscription):
    """A link whose client library goes on after its first cancellation, as one may that uses `asyncio.wait_for`."""

    async def _connect(self) -> None:
        self.is_receiving = asyncio.Event()
        self.has_ended = False

    async def _listen(self, topics: Iterable[str]) -> None:
        return

    async def _receive(self) -> AsyncIterator[tuple[str, bytes]]:
        never = asyncio.Event()
        self.is_receiving.set()
        try:
            await never.wait()
        except asyncio.CancelledError:
            try:
                await never.wait()
            finally:
                self.has_ended = True
        yield "never", b""

    async def _disconnect(self) -> None:
        return


def test_a_subscription_closes_whatever_its_client_library_swallows():
    """Given a client library that swallows a cancellation, when the subscription is closed, then it is, and nothing of
    it goes on.
    """

    async def follow() -> None:
        subscription = Swallowing()
        await subscription.open()
        await subscription.is_receiving.wait()
        closing = asyncio.create_task(subscription.close())
        closed, _ = await asyncio.wait({closing}, timeout=5)
        assert closed
        assert subscription.has_ended

    asyncio.run(follow())


class Scripted(LinkedSubscription):
    """A link on which nothing is said but what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.links = 0
        self.lost = asyncio.Event()
        self.asked: asyncio.Queue[list[bytes]] = asyncio.Queue()

    async def _connect(self) -> None:
        self.links += 1
        self.lost = asyncio.Event()

    async def _listen(self, topics: Iterable[str]) -> None:
        names = [topic.encode() for topic in topics]
        await self._acknowledged(names, self.asked.put(names))

    async def _receive(self) -> AsyncIterator[tuple[str, bytes]]:
        await self.lost.wait()
        for frame in list[tuple[str, bytes]]():
            yield frame

    async def _disconnect(self) -> None:
        return

    async def acknowledge(self) -> None:
        """Have the broker acknowledge what it is asked next, within seconds."""
        async with asyncio.timeout(5):
            for name in await self.asked.get():
                self._acknowledge(name)


async def linked(subscription: Scripted) -> None:
    async with asyncio.timeout(5):
        await subscription._linked.wait()


def test_a_link_that_is_lost_before_its_topics_are_acknowledged_is_made_again():
    """Given a link that is lost while the broker's word on a topic is awaited, when the next one is acknowledged, then
    the subscription is linked.
    """

    async def follow() -> None:
        subscription = Scripted()
        subscription._topics = {"t"}
        await subscription.open()
        await subscription.asked.get()
        subscription.lost.set()
        await subscription.acknowledge()
        await linked(subscription)
        assert subscription.links == 2
        await subscription.close()

    asyncio.run(follow())


def test_a_lost_link_holds_nobody_who_waits_for_a_topic():
    """Given one who waits for the broker's word on a topic, when the link is lost, nobody follows the topic any more
    and the next link stands, then that one goes on.
    """

    async def follow() -> None:
        subscription = Scripted()
        subscription._topics = {"t"}
        await subscription.open()
        await subscription.acknowledge()
        await linked(subscription)
        adding = asyncio.create_task(subscription.add(["u"]))
        await subscription.asked.get()
        subscription._topics = {"t"}
        subscription.lost.set()
        await subscription.acknowledge()
        async with asyncio.timeout(5):
            await adding
        await subscription.close()

    asyncio.run(follow())


def test_who_gives_up_waiting_for_a_topic_takes_the_link_from_nobody():
    """Given two that wait for the broker's word on one topic, when one of them gives up, then the other gets it."""

    async def follow() -> None:
        subscription = Scripted()
        subscription._topics = {"t"}
        await subscription.open()
        names = await subscription.asked.get()
        impatient = asyncio.create_task(subscription._listen(["t"]))
        await subscription.asked.get()
        impatient.cancel()
        await asyncio.wait({impatient})
        subscription._acknowledge(names[0])
        await linked(subscription)
        assert subscription.links == 1
        await subscription.close()

    asyncio.run(follow())


def test_a_client_library_that_cancels_itself_has_lost_its_link():
    """Given a client library whose waiting is cancelled by itself, when that happens, then the link is made again."""

    class Cancelled(Scripted):
        async def _listen(self, topics: Iterable[str]) -> None:
            if self.links == 1:
                raise asyncio.CancelledError
            await super()._listen(topics)

    async def follow() -> None:
        subscription = Cancelled()
        subscription._topics = {"t"}
        await subscription.open()
        await subscription.acknowledge()
        await linked(subscription)
        assert subscription.links == 2
        await subscription.close()

    asyncio.run(follow())
