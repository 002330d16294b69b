"""Between plain and async code: one event loop in one thread per worker process, for the life of the process.

HTTP clients of gateways are pooled on that loop and never die with it. A forked child gets a loop of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

from asgiref.sync import async_to_sync

from django_ais.exceptions import JobError
from django_ais.runtime import links
from django_ais.runtime.leases import Lease

LONG_SECONDS = 0.25  # a wait after which connecting again costs nothing beside it

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

    Who waits long holds no database connection meanwhile: a process may have more calls open than the database takes
    connections. Raises what ended the lease.
    """
    future = asyncio.run_coroutine_threadsafe(work, loop())
    outer, lease.on_end = lease.on_end, future.cancel
    try:
        with suppress(TimeoutError):
            return future.result(_shorter(LONG_SECONDS, lease.seconds_left))
        if not future.done():
            links.let_go()
        return future.result(lease.seconds_left)
    except (CancelledError, TimeoutError):
        future.cancel()
        lease.check()
        raise
    finally:
        lease.on_end = outer


def _shorter(seconds: float, other: float | None) -> float:
    return seconds if other is None else min(seconds, other)


def call(hook: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a hook, plain or async. An async one has a loop of its own; its ORM calls run in this thread."""
    return _result(hook(*args, **kwargs), None)


def call_within(lease: Lease, hook: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """`call`, and an async hook is cancelled as soon as the lease ends or its time is over.

    Raises what ended the lease.
    """
    lease.check()
    return _result(hook(*args, **kwargs), lease)


def _result(value: Any, lease: Lease | None) -> Any:
    return async_to_sync(_awaited)(value, lease) if inspect.isawaitable(value) else value


async def _awaited(work: Awaitable[Any], lease: Lease | None) -> Any:
    if lease is None:
        return await work
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    outer, lease.on_end = lease.on_end, lambda: loop.call_soon_threadsafe(task.cancel)
    try:
        async with asyncio.timeout(lease.seconds_left):
            return await task
    except (asyncio.CancelledError, TimeoutError) as error:
        lease.check()
        if isinstance(error, TimeoutError):
            raise
        raise JobError("async code of the job was cancelled, and not by its lease") from error
    finally:
        lease.on_end = outer
