"""The floor: an ASGI application that hands each frame to every client's queue. No Django, rows, numbers or resume."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from tests.benchmarks.streaming.speech import speak

FRAME = """id: {number}
event: message.delta
data: {{"data":{{"message":"m{number}","text":"{text}"}},"job":"019ac000-0000-7000-8000-000000000000",\
"run":"019ac000-0000-7000-8000-000000000000","seq":{number},"time":"2026-01-01T00:00:00.000000+00:00",\
"type":"message.delta"}}

"""

queues: set[asyncio.Queue[bytes]] = set()


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    """Stream to whoever asks."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    queues.add(queue)
    try:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        while True:
            await send({"type": "http.response.body", "body": await queue.get(), "more_body": True})
    finally:
        queues.discard(queue)


async def _lifespan(receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    await receive()
    loop = asyncio.get_running_loop()

    def say(number: int, text: str) -> None:
        loop.call_soon_threadsafe(_fan_out, FRAME.format(number=number, text=text).encode())

    threading.Thread(target=speak, args=(os.environ["AIS_BENCH_GATE"], say), daemon=True).start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _fan_out(frame: bytes) -> None:
    for queue in queues:
        queue.put_nowait(frame)
