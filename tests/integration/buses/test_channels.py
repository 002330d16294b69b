"""The bus on a layer of Django Channels: in memory, and both of channels_redis's on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from channels.layers import channel_layers

from django_ais.backends.bus.channels import ChannelsBus
from django_ais.conformance.servers import RedisServer
from django_ais.exceptions import BusError
from tests.harness.private import private
from tests.integration.buses.following import envelope, following, next_hint, publish

LAYERS = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.one_database("sqlite"),
]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a private Redis."""
    with private(RedisServer) as server:
        yield server.port


@pytest.fixture(params=LAYERS)
def bus(request, settings, port) -> Iterator[ChannelsBus]:
    options = {} if request.param == "memory" else {"CONFIG": {"hosts": [("127.0.0.1", port)]}}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS[request.param], **options}}
    channel_layers.backends = {}
    made = ChannelsBus("default", {})
    yield made
    made.close()


async def test_followers_are_woken_by_the_last_number(bus):
    """Given a follower, when two events are published, then it is told the number of the last, and no content."""
    async with following(bus, "t-1") as (_, heard):
        assert await publish(bus, "t-1", envelope(1), envelope(2)) == 2
        hint = await next_hint(heard)

    assert (hint.topic, hint.seq, hint.envelope) == ("t-1", 2, None)


async def test_topics_come_and_go(bus):
    """Given a follower, when it follows another topic and drops its first, then it hears the other alone."""
    async with following(bus, "t-1") as (subscription, heard):
        await subscription.add(["t-2"])
        await subscription.discard(["t-1"])
        await publish(bus, "t-1", envelope(1))
        await publish(bus, "t-2", envelope(2))

        assert (await next_hint(heard)).topic == "t-2"


@pytest.mark.parametrize("bus", ["core", "pubsub"], indirect=True)
async def test_a_follower_to_whom_nothing_is_said_keeps_its_link(bus, settings, port):
    """Given a client that ends connections which were silent for three seconds, when a follower hears nothing for
    longer, then its link was never down, and it hears what comes next.
    """
    hosts = [{"address": f"redis://127.0.0.1:{port}", "socket_timeout": 3}]
    settings.CHANNEL_LAYERS = {"default": {**settings.CHANNEL_LAYERS["default"], "CONFIG": {"hosts": hosts}}}
    channel_layers.backends = {}
    async with following(bus, "t-1") as (_, heard):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(heard.get(), 3.5)
        await publish(bus, "t-1", envelope(1))

        assert (await next_hint(heard)).seq == 1


async def test_a_layer_that_is_not_there_is_told(settings):
    """Given a layer that CHANNEL_LAYERS does not have, then check names it, and to subscribe is an error."""
    settings.CHANNEL_LAYERS = {}
    bus = ChannelsBus("default", {"layer": "nope"})

    assert "'nope'" in bus.check()[0]
    with pytest.raises(BusError, match="CHANNEL_LAYERS"):
        await bus.subscribe(["t-1"])


def test_a_layer_in_memory_is_warned_of(settings):
    """Given the layer that lives in one process, then check says that others learn late."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYERS["memory"]}}
    channel_layers.backends = {}

    assert "lives in one process" in ChannelsBus("default", {}).check()[0]
