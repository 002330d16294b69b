"""The link of a subscription is made again whenever it is lost, whatever its client library does with cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from django_ais.buses import LinkedSubscription


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


async def opened(subscription: Scripted) -> Scripted:
    """Open it, with a topic."""
    subscription._topics = {"t"}
    await subscription.open()
    return subscription


async def linked(subscription: Scripted) -> None:
    async with asyncio.timeout(5):
        await subscription._linked.wait()


def test_a_link_that_is_lost_before_its_topics_are_acknowledged_is_made_again():
    """Given a link that is lost while the broker's word on a topic is awaited, when the next one is acknowledged, then
    the subscription is linked.
    """

    async def follow() -> None:
        subscription = await opened(Scripted())
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
        subscription = await opened(Scripted())
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
        subscription = await opened(Scripted())
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
        subscription = await opened(Cancelled())
        await subscription.acknowledge()
        await linked(subscription)
        assert subscription.links == 2
        await subscription.close()

    asyncio.run(follow())
