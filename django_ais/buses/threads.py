"""An event loop in a thread of its own, for client libraries that are async alone, called from ordinary code."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """One loop for each process, begun when first needed. A forked child has its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of this process."""
        pid = os.getpid()
        if (found := self._loops.get(pid)) is not None:
            return found
        with self._lock:
            if pid not in self._loops:
                loop = asyncio.new_event_loop()
                threading.Thread(target=self._live, args=(loop,), name=self._name, daemon=True).start()
                self._loops[pid] = loop
            return self._loops[pid]

    def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    def run(self, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
        """Run a coroutine there and return what it returns; raises what it raises, or TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread of this process."""
        with self._lock:
            loop = self._loops.pop(os.getpid(), None)
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
