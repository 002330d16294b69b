"""Between plain and async code: one event loop in one thread per worker process, for the life of the process.

HTTP clients of gateways are pooled on that loop and never die with it. A forked child gets a loop of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from asgiref.sync import async_to_sync

from django_ais.runtime.leases import Lease

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a daemon thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="ais-loop", daemon=True).start()


_threads: dict[int, LoopThread] = {}
_lock = threading.Lock()


def loop() -> asyncio.AbstractEventLoop:
    """This process's loop, started at first use."""
    with _lock:
        if os.getpid() not in _threads:
            _threads.clear()
            _threads[os.getpid()] = LoopThread()
        return _threads[os.getpid()].loop


def run(work: Coroutine[Any, Any, T], lease: Lease) -> T:
    """Run a coroutine on the process's loop and wait; cancel it as soon as the lease ends or its time is over.

    Raises what ended the lease.
    """
    future = asyncio.run_coroutine_threadsafe(work, loop())
    lease.on_end = future.cancel
    try:
        return future.result(lease.seconds_left)
    except (CancelledError, TimeoutError):
        future.cancel()
        lease.check()
        raise
    finally:
        lease.on_end = None


def call(hook: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a hook, plain or ``async def``. An async one has a loop of its own; its ORM calls run in this thread."""
    if inspect.iscoroutinefunction(hook):
        result: T = async_to_sync(hook)(*args, **kwargs)
        return result
    return hook(*args, **kwargs)
