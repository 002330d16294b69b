"""Many followers over TCP, in a process of their own: ``python -m tests.integration.streaming.followers``.

Reads one JSON document from its standard input (``port``, ``seed``, ``give_up``: seconds, if not `GIVE_UP_SECONDS`, and
for each follower ``path`` and ``cookie``) and writes what each follower saw to its standard output. A follower joins at
a random moment, leaves after a random number of events, and comes back with ``Last-Event-ID`` until it is told to come
no more.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import time
from typing import Any

from tests.integration.streaming.client import asked
from tests.integration.streaming.writers import text_in

LONGEST_ABSENCE = 0.5  # seconds; a browser's is `retry:`, which a test need not wait for
GIVE_UP_SECONDS = 90.0


class Follower:
    """One browser."""

    def __init__(self, port: int, path: str, cookie: str, chosen: random.Random) -> None:
        self._port = port
        self._path = path
        self._cookie = cookie
        self._chosen = chosen
        self.events: list[dict[str, Any]] = []
        self.digest = hashlib.sha256()
        self.connections = 0
        self.refused: list[int] = []
        self.broken = 0

    async def follow(self, seconds: float) -> None:
        await asyncio.sleep(self._chosen.uniform(0, 3))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if await self._connect() == 204:
                    return
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.broken += 1
            await asyncio.sleep(self._chosen.uniform(0, LONGEST_ABSENCE))
        raise TimeoutError(f"{self._path}: {len(self.events)} events, {self.connections} connections, {self.refused}")

    async def _connect(self) -> int:
        seen = {"Last-Event-ID": str(self.events[-1]["seq"])} if self.events else {}
        async with asked(self._port, self._path, cookie=self._cookie, headers=seen) as answer:
            self.connections += 1
            if answer.status != 200:
                self.refused.append(answer.status)
                return answer.status
            most = len(self.events) + self._chosen.choice([20, 60, 10**9, 10**9])
            async for frame in answer.frames():
                assert int(frame.id) == frame.document["seq"]
                self.events.append(frame.document)
                self.digest.update(frame.data.encode() + b"\n")
                if len(self.events) >= most:
                    break
            return 200

    @property
    def report(self) -> dict[str, Any]:
        numbers = [event["seq"] for event in self.events]
        return {
            "count": len(numbers),
            "is_whole": numbers == list(range(1, len(numbers) + 1)),
            "last": self.events[-1]["type"] if self.events else None,
            "text": text_in(self.events),
            "digest": self.digest.hexdigest(),
            "connections": self.connections,
            "broken": self.broken,
            "refused": [status for status in self.refused if status != 204],
        }


async def follow_all(document: dict[str, Any]) -> list[dict[str, Any]]:
    chosen = random.Random(document["seed"])
    followers = [
        Follower(document["port"], each["path"], each["cookie"], random.Random(chosen.random()))
        for each in document["followers"]
    ]
    seconds = document.get("give_up", GIVE_UP_SECONDS)
    await asyncio.gather(*[follower.follow(seconds) for follower in followers])
    return [follower.report for follower in followers]


def digest_of(run: Any) -> str:
    """The digest of a run's events as the rows have them."""
    from django_ais import wire
    from django_ais.runtime import reading

    digest = hashlib.sha256()
    for envelope in reading.page(run, "", 0, limit=10**6):
        digest.update(wire.Native().frame(envelope).partition(b"data: ")[2].rstrip(b"\n") + b"\n")
    return digest.hexdigest()


if __name__ == "__main__":
    json.dump(asyncio.run(follow_all(json.load(sys.stdin))), sys.stdout)
