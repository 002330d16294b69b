"""Plain code runs in threads: it never stops the loop, and a generator is closed when nobody reads it any more."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from django_ais.gateways import GatewayRequest, PartDelta
from tests.unit.gateways.asking import CONTEXT, ask, request
from tests.unit.gateways.test_function import calling


@pytest.mark.parametrize("colour", ["plain", "generator"])
def test_blocking_code_does_not_block_the_loop(colour: str) -> None:
    """While plain code waits in its thread, the loop goes on: it is the loop that lets it go."""
    stuck, released = threading.Event(), threading.Event()

    def blocks(request: GatewayRequest) -> str:
        stuck.set()
        assert released.wait(10)
        return threading.current_thread().name

    def blocks_late(request: GatewayRequest) -> Iterator[str]:
        yield blocks(request)

    async def both() -> str:
        call = asyncio.create_task(calling(blocks if colour == "plain" else blocks_late).execute(request(), CONTEXT))
        await asyncio.to_thread(stuck.wait, 10)
        released.set()
        return (await call).text

    assert asyncio.run(both()) != threading.main_thread().name


def test_a_generator_stays_in_one_thread() -> None:
    """All steps of a generator, and its closing, happen in one thread: what is local to it stays, as a connection."""
    threads: list[int] = []

    def steps(request: GatewayRequest) -> Iterator[str]:
        try:
            for word in ("a", "b", "c"):
                threads.append(threading.get_ident())
                yield word
        finally:
            threads.append(threading.get_ident())

    assert ask(calling(steps)).text == "abc"
    assert len(threads) == 4
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


LABEL: contextvars.ContextVar[str] = contextvars.ContextVar("LABEL", default="none")


@pytest.mark.parametrize("colour", ["plain", "generator"])
def test_context_variables_come_along(colour: str) -> None:
    """Code in a thread sees the context variables of the call: a trace, a tenant."""

    def reads(request: GatewayRequest) -> str:
        return LABEL.get()

    def reads_late(request: GatewayRequest) -> Iterator[str]:
        yield LABEL.get()

    async def labelled() -> str:
        LABEL.set("mine")
        response = await calling(reads if colour == "plain" else reads_late).execute(request(), CONTEXT)
        return response.text

    assert asyncio.run(labelled()) == "mine"


class Watched:
    """A generator of each colour that says when it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.stuck = threading.Event()
        self.go_on = threading.Event()

    def endless(self, request: GatewayRequest) -> Iterator[str]:
        try:
            while True:
                yield "more "
        finally:
            self.closed.set()

    async def endless_async(self, request: GatewayRequest) -> AsyncIterator[str]:
        try:
            while True:
                yield "more "
        finally:
            self.closed.set()

    def blocking(self, request: GatewayRequest) -> Iterator[str]:
        try:
            yield "more "
            self.stuck.set()
            assert self.go_on.wait(10)
            yield "never read"
        finally:
            self.closed.set()

    async def blocking_async(self, request: GatewayRequest) -> AsyncIterator[str]:
        try:
            yield "more "
            self.stuck.set()
            await asyncio.Event().wait()
        finally:
            self.closed.set()


@pytest.mark.parametrize("colour", ["endless", "endless_async"])
def test_a_reader_that_leaves_closes_the_generator(colour: str) -> None:
    """When the reader has left, the generator's ``finally`` has run."""
    watched = Watched()
    kept: list[Any] = []  # or the garbage collector would close it

    def keeps(asked: GatewayRequest) -> Any:
        kept.append(getattr(watched, colour)(asked))
        return kept[0]

    async def leave() -> bool:
        async with aclosing(calling(keeps).stream(request(), CONTEXT)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, PartDelta):
                    break
        return watched.closed.is_set()

    assert asyncio.run(leave())


@pytest.mark.parametrize("colour", ["blocking", "blocking_async"])
def test_cancelling_closes_the_generator(colour: str) -> None:
    """A cancelled call leaves at once; a generator stuck in plain code is closed as soon as that returns."""
    watched = Watched()

    async def cancel() -> None:
        call = asyncio.create_task(calling(getattr(watched, colour)).execute(request(), CONTEXT))
        await asyncio.to_thread(watched.stuck.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert watched.closed.is_set() is (colour == "blocking_async")
        watched.go_on.set()

    asyncio.run(cancel())
    assert watched.closed.wait(10)
