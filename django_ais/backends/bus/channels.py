"""Wake-ups through a layer of Django Channels: a group for each followed run. For sites that have a layer already.

A group message costs more with each member, so it carries numbers alone, and the rows the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, ClassVar
from weakref import WeakSet

from pydantic import BaseModel, ConfigDict, Field

from django_ais.buses import BaseBus, LinkedSubscription, LoopThread
from django_ais.exceptions import BusError

TYPE = "ais.hint"
SEND_SECONDS = 1.0
WAIT_SECONDS = 2  # how long the lists of channels_redis wait for a message: redis-py 8 ends a silent connection at five


class ChannelsBusOptions(BaseModel):
    """Which layer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str = Field(default="default", description="An alias of the setting `CHANNEL_LAYERS`.")


class ChannelsBus(BaseBus):
    """Sends to a group what its followers have to look for: the last number of a commit."""

    options_class = ChannelsBusOptions
    needs = ("channels",)

    carries_payload: ClassVar[bool] = False  # Does it carry the event, or only wake the reader up?
    detects_reconnect: ClassVar[bool] = False  # Does the driver notice every loss of the link?

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._thread = LoopThread("ais-bus")
        self._layer: Any = None
        self._listeners: WeakSet[ChannelsSubscription] = WeakSet()

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        if self._layer is None:
            self._layer = own_layer(self.options.layer)
        layer, message = self._layer, {"type": TYPE, "topic": topic, "frame": frames[-1].decode()}
        if is_in_memory(layer):  # its queues belong to the loops that listen
            for loop in {listener.loop for listener in list(self._listeners)}:
                asyncio.run_coroutine_threadsafe(layer.group_send(group_of(topic), message), loop)
        else:
            self._thread.run(layer.group_send(group_of(topic), message), seconds=SEND_SECONDS)
        return len(frames)

    async def _subscribe(self) -> ChannelsSubscription:
        subscription = ChannelsSubscription(self.options.layer)
        await subscription.open()
        self._listeners.add(subscription)
        return subscription

    def check(self) -> list[str]:
        """A sentence about a layer that is not there, or that ends with its process."""
        try:
            layer = layer_of(self.options.layer)
        except BusError as error:
            return [str(error)]
        if is_in_memory(layer):
            return [
                f"Bus '{self.alias}': the layer '{self.options.layer}' lives in one process; followers in others learn "
                "of events up to five seconds late. Use a layer with a server, as channels_redis."
            ]
        return []

    def probe(self) -> list[str]:
        """`check`, with a message to nobody. Raises `BusError` if the layer's server does not take it."""
        try:
            self._thread.run(reach_once(self.options.layer), seconds=SEND_SECONDS)
        except Exception as error:
            raise BusError(f"bus '{self.alias}': {type(error).__name__}: {error}") from error
        return self.check()

    def close(self) -> None:
        """End the thread that sends, and its connections."""
        layer, self._layer = self._layer, None
        if layer is not None and not is_in_memory(layer):
            with suppress(Exception):
                self._thread.run(let_go(layer), seconds=SEND_SECONDS)
        self._thread.close()


class ChannelsSubscription(LinkedSubscription):
    """One channel that is a member of the groups of all topics."""

    def __init__(self, alias: str) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self._alias = alias
        self._layer: Any = None
        self._channel = ""

    async def _connect(self) -> None:
        self._layer = own_layer(self._alias)
        await reach(self._layer)
        self._channel = await self._layer.new_channel("ais")

    async def _listen(self, topics: Iterable[str]) -> None:
        for topic in topics:
            await self._layer.group_add(group_of(topic), self._channel)

    async def _unlisten(self, topics: Iterable[str]) -> None:
        for topic in topics:
            await self._layer.group_discard(group_of(topic), self._channel)

    async def _receive(self) -> AsyncIterator[tuple[str, bytes]]:
        while True:
            message = await self._layer.receive(self._channel)
            if message.get("type") == TYPE:
                yield str(message.get("topic")), str(message.get("frame")).encode()

    async def _disconnect(self) -> None:
        channel, self._channel = self._channel, ""
        async with asyncio.timeout(SEND_SECONDS):
            try:
                for topic in self._topics if channel else ():
                    await self._layer.group_discard(group_of(topic), channel)
            finally:
                await let_go(self._layer)


def group_of(topic: str) -> str:
    """A group's name, which takes few letters and at most 99 of them."""
    return f"ais.{sha256(topic.encode()).hexdigest()[:40]}"


def own_layer(alias: str) -> Any:
    """A layer for ourselves, with the project's settings; the project's own where it lives in this process.

    Whoever shares one of channels_redis gets in each other's way: one event loop at a time may receive, and what was
    meant for a channel that is gone stays in the queue before all others. Raises `BusError` as `layer_of` does.
    """
    from channels.layers import channel_layers

    shared = layer_of(alias)
    if is_in_memory(shared):
        return shared
    layer = channel_layers.make_backend(alias)
    if hasattr(type(layer), "brpop_timeout"):  # to ask the other layer of channels_redis would tie it to this thread
        layer.brpop_timeout = min(layer.brpop_timeout, WAIT_SECONDS)
    return layer


async def reach(layer: Any) -> None:
    """Send to a group that has no member: raises what the layer raises where its server is away."""
    await layer.group_send(group_of("nobody"), {"type": TYPE})


async def reach_once(alias: str) -> None:
    """`reach` a layer of our own, and let go of it."""
    layer = own_layer(alias)
    try:
        await reach(layer)
    finally:
        await let_go(layer)


async def let_go(layer: Any) -> None:
    """Close a layer's connections, as far as it says how."""
    if hasattr(layer, "close_pools"):
        await layer.close_pools()
    elif type(layer).__module__ == "channels_redis.pubsub":  # `flush` of others deletes what they have stored
        await layer.flush()


def is_in_memory(layer: Any) -> bool:
    """Whether a layer lives in one process."""
    return type(layer).__name__ == "InMemoryChannelLayer"


def layer_of(alias: str) -> Any:
    """The layer. Raises `BusError` if the settings have none of this name."""
    from channels.layers import channel_layers

    try:
        return channel_layers[alias]
    except Exception as error:  # InvalidChannelLayerError, or whatever the layer's own settings raise
        raise BusError(f"the channel layer {alias!r} is not to be had: {error}. See CHANNEL_LAYERS.") from error
