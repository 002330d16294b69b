"""One topic and its subscribers in one process, on Redis: ours, layers of Channels, and a floor written by hand.

A program, ``wires KIND RUN``, started twice: one process is asked to ``open`` subscribers and to ``hear``, the other to
``say``. All carry the same document, message by message. The floor decodes a message once and hands it to every
subscriber's queue; it has no signatures, numbers, rows or repair.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tests.benchmarks.peers import serving
from tests.benchmarks.streaming.hearing import Audience, Subscriber
from tests.benchmarks.streaming.speech import paced, text

LAYERS = {
    "pubsub": ("channels_redis.pubsub", "RedisPubSubChannelLayer", {}),
    "core": ("channels_redis.core", "RedisChannelLayer", {"capacity": 100_000}),  # by default it drops what is over 100
}
GROUP = "bench"


class Wire:
    """Both ends of one kind. To write: `publish` and `texts`."""

    def __init__(self, url: str, run: str) -> None:
        self.url = url
        self.run = UUID(run)
        self._number = 1  # the run's first event is in the rows
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, number: int, said: str) -> None:
        """Send one message; returns once the broker has it."""
        raise NotImplementedError

    def texts(self) -> AsyncIterator[str | None]:
        """What one subscriber hears; None once it listens."""
        raise NotImplementedError

    def say(self, count: int, per_second: int) -> dict[str, Any]:
        """So many messages; 0 a second is as fast as can be."""
        begun = time.perf_counter()
        for _ in paced(count, per_second):
            self._number += 1
            self.publish(self._number, text())
        return {"seconds": time.perf_counter() - begun}

    async def join(self) -> Subscriber:
        """A subscriber that listens."""
        subscriber = Subscriber()
        listens = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(self._listen(subscriber, listens))
        self._tasks.add(task)
        await asyncio.wait({listens, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return subscriber

    async def _listen(self, subscriber: Subscriber, listens: asyncio.Future[None]) -> None:
        async for said in self.texts():
            if said is not None:
                subscriber.hear(said)
            elif not listens.done():
                listens.set_result(None)


def document(run: UUID, number: int, said: str) -> dict[str, Any]:
    """What one of our events holds, for those who send it as JSON."""
    moment = datetime.now(UTC).isoformat()
    data = {"message": "m", "text": said}
    return {"seq": number, "run": str(run), "job": str(run), "type": "message.delta", "time": moment, "data": data}


class Ours(Wire):
    """The bus `redis` of the settings, and `follow` over the hub of the loop. The events have no rows."""

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, run)
        from django_ais import registry, tenancy

        self._bus = registry.buses["default"]
        self._topic = tenancy.topic("", self.run)

    def publish(self, number: int, said: str) -> None:
        from django_ais.events import Envelope

        envelope = Envelope.model_construct(
            seq=number, run=self.run, job=self.run, tenant="", type="message.delta", time=datetime.now(UTC),
            data={"message": "m", "text": said},
        )  # fmt: skip
        self._bus.publish(self._topic, [envelope])

    async def texts(self) -> AsyncIterator[str | None]:
        from django_ais.runtime import streams

        async with aclosing(streams.follow(self.run)) as envelopes:
            async for envelope in envelopes:
                yield envelope.data["text"] if envelope.type == "message.delta" else None


class Layer(Wire):
    """A layer of Channels: a group with a channel for each subscriber."""

    def __init__(self, url: str, run: str, kind: str) -> None:
        super().__init__(url, run)
        module, name, options = LAYERS[kind]
        self._layer = getattr(__import__(module, fromlist=[name]), name)(hosts=[url], **options)
        self._loop = asyncio.new_event_loop()  # where it is published

    def publish(self, number: int, said: str) -> None:
        message = {**document(self.run, number, said), "type": "bench.said"}
        self._loop.run_until_complete(self._layer.group_send(GROUP, message))

    async def texts(self) -> AsyncIterator[str | None]:
        channel = await self._layer.new_channel()
        await self._layer.group_add(GROUP, channel)
        yield None
        while True:
            yield (await self._layer.receive(channel))["data"]["text"]


class Bare(Wire):
    """One connection, one task that reads it, a queue for each subscriber."""

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, run)
        from redis import Redis

        self._redis = Redis.from_url(url)
        self._queues: list[asyncio.Queue[dict[str, Any]]] = []
        self._reader: asyncio.Task[None] | None = None

    def publish(self, number: int, said: str) -> None:
        self._redis.publish(GROUP, json.dumps(document(self.run, number, said)))

    async def texts(self) -> AsyncIterator[str | None]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._queues.append(queue)
        if self._reader is None:
            self._reader = asyncio.ensure_future(self._read())
        yield None
        while True:
            yield (await queue.get())["data"]["text"]

    async def _read(self) -> None:
        from redis.asyncio.connection import ConnectionPool

        connection: Any = ConnectionPool.from_url(self.url, protocol=2, socket_timeout=None).make_connection()
        await connection.connect()
        await connection.send_command("SUBSCRIBE", GROUP, check_health=False)
        while True:
            kind, _, body = await connection.read_response()
            if kind == b"message":
                message = json.loads(body)
                for queue in self._queues:
                    queue.put_nowait(message)


def wire(kind: str, url: str, run: str) -> Wire:
    """By name: ``ours``, ``bare``, ``pubsub`` or ``core``."""
    if kind == "bare":
        return Bare(url, run)
    if kind in LAYERS:
        return Layer(url, run, kind)
    import django

    django.setup()
    return Ours(url, run)


if __name__ == "__main__":
    end = wire(sys.argv[1], os.environ["AIS_BENCH_REDIS"], sys.argv[2])
    audience = Audience(end.join)
    serving.serve(open=audience.open, hear=audience.hear, say=end.say, cpu=lambda: {"cpu": time.process_time()})
    audience.close()
