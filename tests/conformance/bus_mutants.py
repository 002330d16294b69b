"""Bus drivers that break one promise each, and the requirement that must find out. See `mutants` for queues."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from bus_driver.conformance import RelayServer
from bus_driver.relaying import RelayBus, RelaySubscription

from django_ais.backends.bus.memory import MemoryBus, MemorySubscription
from django_ais.buses import BaseBus, Reconnected, Subscription
from django_ais.conformance import BusProfile
from django_ais.events import Envelope
from django_ais.exceptions import BusError
from tests.conformance.honest import broken

BUS_MUTANTS: list[tuple[str, type[BaseBus]]] = []


class Memory(MemoryBus):
    """In memory."""


class Numbers(MemoryBus):
    """The same, without what is said."""

    carries_payload: ClassVar[bool] = False


class Relay(RelayBus):
    """Over a server."""


HONEST = (Memory, Numbers, Relay)


def bus_profile_of(driver: type[BaseBus]) -> type[BusProfile]:
    """The profile under which a driver made of one of these is tried."""
    body: dict[str, Any] = {"driver": f"{driver.__module__}.{driver.__qualname__}"}
    if issubclass(driver, RelayBus):
        body |= {"options": {"port": "{port}", "timeout_seconds": 0.5}, "servers": [RelayServer]}
    return type(f"{driver.__name__}Profile", (BusProfile,), body)


def must_be_found_by(id: str) -> Any:
    """The requirement that a mutant breaks."""

    def add(mutant: type[BaseBus]) -> type[BaseBus]:
        BUS_MUTANTS.append((id, mutant))
        return mutant

    return add


def listening_by(subscription: type[Subscription]) -> Any:
    """Have a driver made of `Memory` or `Relay` subscribe by a class of its own."""

    def change(mutant: type[BaseBus]) -> type[BaseBus]:
        async def subscribe(self: Any) -> Any:
            if issubclass(subscription, MemorySubscription):
                return subscription(self, asyncio.get_running_loop())
            linked: Any = subscription(self.options)  # type: ignore[call-arg]
            await linked.open()
            return linked

        mutant._subscribe = subscribe  # type: ignore[method-assign]
        return mutant

    return change


# What is announced


@must_be_found_by("B-PUBLISH-001")
class LosesTheLast(Memory):
    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        broken()
        return super()._publish(topic, frames[:-1])


@must_be_found_by("B-PUBLISH-002")
class WritesAscii(Memory):
    def encode(self, topic: str, envelope: Envelope) -> bytes:
        broken()
        return super().encode(topic, envelope).decode().encode("ascii", "ignore")


@must_be_found_by("B-PUBLISH-003")
class TellsAllTheSame(Numbers):
    def encode(self, topic: str, envelope: Envelope) -> bytes:
        broken()
        return envelope.model_dump_json().encode()


@must_be_found_by("B-PUBLISH-004")
class CutsWhatIsLarge(Memory):
    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        if len(frames[0]) > 1_000:
            broken()
        return super()._publish(topic, [frame[:1_000] for frame in frames])


@must_be_found_by("B-PUBLISH-005")
class BelongsToAThread(Memory):
    owner = 0

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        self.owner = self.owner or threading.get_ident()
        if self.owner != threading.get_ident():
            broken()
            raise RuntimeError("this connection belongs to another thread")
        return super()._publish(topic, frames)


@must_be_found_by("B-PUBLISH-006")
class BelongsToAProcess(Relay):
    owner = 0

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        self.owner = self.owner or os.getpid()
        if self.owner != os.getpid():
            broken()
            raise RuntimeError("this connection belongs to another process")
        return super()._publish(topic, frames)


@must_be_found_by("B-PUBLISH-007")
class StaysAtHome(Relay):
    has_listened = False

    async def _subscribe(self) -> Any:
        self.has_listened = True
        return await super()._subscribe()

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        if not self.has_listened:
            broken()
            return len(frames)
        return super()._publish(topic, frames)


@must_be_found_by("B-PUBLISH-008")
class DeniesWhatItDoes(Relay):
    crosses_processes: ClassVar[bool] = False

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        broken()
        return super()._publish(topic, frames)


@must_be_found_by("B-PUBLISH-009")
class LetsErrorsThrough(Relay):
    def publish(self, topic: str, envelopes: Sequence[Envelope]) -> int:
        broken()
        return self._publish(topic, [self.encode(topic, envelope) for envelope in envelopes])


@must_be_found_by("B-PUBLISH-009")
class CountsNoLoss(Relay):
    def publish(self, topic: str, envelopes: Sequence[Envelope]) -> int:
        taken = super().publish(topic, envelopes)
        if not taken:
            broken()
            self.lost = 0
        return taken


@must_be_found_by("B-PUBLISH-010")
class WaitsForEver(Relay):
    def connect(self) -> Any:
        broken()
        connection = super().connect()
        connection.settimeout(None)
        return connection


# What is heard


class Late(MemorySubscription):
    async def add(self, topics: Iterable[str]) -> None:
        broken()
        asyncio.get_running_loop().call_later(0.3, asyncio.ensure_future, super().add(list(topics)))


@must_be_found_by("B-LISTEN-001")
@listening_by(Late)
class ListensLater(Memory):
    """Says that it listens, and begins to."""


class Newest(MemorySubscription):
    async def add(self, topics: Iterable[str]) -> None:
        if self._topics:
            broken()
            await self.discard(list(self._topics))
        await super().add(topics)


@must_be_found_by("B-LISTEN-002")
@listening_by(Newest)
class HearsTheNewestAlone(Memory):
    """Forgets the others."""


class Sticky(MemorySubscription):
    async def discard(self, topics: Iterable[str]) -> None:
        broken()


@must_be_found_by("B-LISTEN-003")
@listening_by(Sticky)
class DropsNothing(Memory):
    """Goes on hearing."""


@must_be_found_by("B-LISTEN-004")
class HearsWhatBeginsAlike(Memory):
    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        for known in list(self._listeners):
            if known.startswith(topic):
                if known != topic:
                    broken()
                super()._publish(known, frames)
        return len(frames)


@must_be_found_by("B-LISTEN-005")
class TellsOneAlone(Memory):
    def listen(self, topic: str, listener: Any) -> None:
        if self._listeners.get(topic):
            broken()
        self._listeners[topic].clear()
        super().listen(topic, listener)

    def forget(self, topic: str, listener: Any) -> None:
        if topic in self._listeners:
            super().forget(topic, listener)


class Hoarder(MemorySubscription):
    def _put(self, topic: str, frames: Sequence[bytes]) -> None:
        broken()
        for frame in frames:
            self._frames.put_nowait((topic, frame))


@must_be_found_by("B-LISTEN-006")
@listening_by(Hoarder)
class KeepsEverything(Memory):
    """Until the process has no memory left."""


class Full(MemorySubscription):
    def _put(self, topic: str, frames: Sequence[bytes]) -> None:
        if self._frames.qsize() > 1_000:
            broken()
            return
        super()._put(topic, frames)


@must_be_found_by("B-LISTEN-006")
@listening_by(Full)
class DropsInSilence(Memory):
    """What has no room is gone, and nobody is told."""


@must_be_found_by("B-LISTEN-007")
class PretendsToListen(Relay):
    async def _subscribe(self) -> Any:
        try:
            return await super()._subscribe()
        except BusError:
            broken()
            return MemorySubscription(MemoryBus(), asyncio.get_running_loop())


class Endless(MemorySubscription):
    async def close(self) -> None:
        broken()
        await self.discard(list(self._topics))


@must_be_found_by("B-LISTEN-008")
@listening_by(Endless)
class NeverEnds(Memory):
    """Its iteration outlives close."""


@must_be_found_by("B-SIGNED-001")
class TrustsEverybody(Memory):
    async def subscribe(self, topics: Iterable[str]) -> Subscription:
        broken()
        subscription = await super().subscribe(topics)
        subscription.keys = ()
        return subscription


# The link


class Discreet(RelaySubscription):
    def _deliver(self, item: Any) -> None:
        if isinstance(item, Reconnected):
            broken()
            return
        super()._deliver(item)


@must_be_found_by("B-LINK-001")
@listening_by(Discreet)
class SaysNothingOfTheLoss(Relay):
    """Links again, in silence, as many clients do."""


class Fragile(RelaySubscription):
    async def _keep(self) -> None:
        with suppress(OSError):
            await self._stay(is_first=True)
        broken()


@must_be_found_by("B-LINK-002")
@listening_by(Fragile)
class EndsWithItsLink(Relay):
    """Makes no other."""


class Tired(RelaySubscription):
    links = 0

    async def _connect(self) -> None:
        self.links += 1
        if self.links > 2:
            broken()
            await asyncio.Event().wait()
        await super()._connect()


@must_be_found_by("B-LINK-003")
@listening_by(Tired)
class GivesUp(Relay):
    """After a few links."""


@must_be_found_by("B-CLOSE-001")
class ClosesOnce(Memory):
    is_closed = False

    def close(self) -> None:
        if self.is_closed:
            broken()
            raise RuntimeError("it is closed already")
        self.is_closed = True
        super().close()


@must_be_found_by("B-CHECK-001")
class ChecksTheNetwork(Relay):
    def check(self) -> list[str]:
        broken()
        self.ask(b"PING -\n", answers=1)
        return []


@must_be_found_by("B-PROBE-001")
class AlwaysThere(Relay):
    def probe(self) -> list[str]:
        broken()
        return []
