"""A call ends in time, and lets go of what it holds however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from django_ais.exceptions import GatewayError
from django_ais.gateways import (
    Finished,
    GatewayContext,
    GatewayRequest,
    PartDelta,
    Timeouts,
    Yielded,
)
from tests.unit.gateways.asking import CONTEXT, Yielding, ask, listen, request


class Waiting(Yielding):
    """Says something, then nothing until ``go``."""

    def __init__(self, *items: Any) -> None:
        super().__init__(*items, ends=False)
        self.stuck = asyncio.Event()

    async def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
        try:
            for item in self.items:
                yield item
            self.stuck.set()
            await asyncio.Event().wait()
        finally:
            self.closed += 1


def test_cancelled_in_mid_stream() -> None:
    """A cancelled call closes the driver's stream before the cancellation goes on."""

    async def cancel() -> Waiting:
        gateway = Waiting("hi")
        call = asyncio.create_task(gateway.execute(request(), CONTEXT))
        await gateway.stuck.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return gateway

    assert asyncio.run(cancel()).closed == 1


def test_a_reader_that_leaves() -> None:
    """A reader that leaves early, within ``aclosing``, closes the driver's stream at once; nothing is read ahead."""

    async def leave() -> Yielding:
        gateway = Yielding("a", "b", ZeroDivisionError())
        async with aclosing(gateway.stream(request(), CONTEXT)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, PartDelta):
                    break
        return gateway

    assert asyncio.run(leave()).closed == 1


def test_cleaning_up_cannot_undo_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """An error while a driver closes is logged: the answer was given and is paid for."""

    class Clumsy(Yielding):
        async def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
            try:
                yield "hi"
                yield Finished()
            finally:
                raise OSError("cannot close")

    assert ask(Clumsy()).text == "hi"
    assert "failed to close" in caplog.text


@pytest.mark.parametrize(
    ("items", "limits", "deadline", "what", "retryable"),
    [
        ((), {"first_event": 0.01}, None, "first event", True),
        (("hi",), {"idle": 0.01}, None, "idle", True),
        (("hi",), {"attempt": 0.01}, None, "attempt", True),
        (("hi",), {}, 0.01, "total", False),
        ((), {}, -1.0, "total", False),
    ],
)
def test_patience_ends(
    items: tuple[Any, ...], limits: dict[str, float], deadline: float | None, what: str, retryable: bool
) -> None:
    """Each clock ends a silent stream, closes it, and says which clock it was; only the whole job's is final."""
    gateway = Waiting(*items)
    context = CONTEXT.model_copy(update={"deadline": deadline})
    chunks, error = listen(gateway, request(timeouts=Timeouts(**limits)), context)
    assert isinstance(error, GatewayError)
    assert (error.code, error.retryable, error.in_stream) == ("timeout", retryable, bool(items))
    assert what in str(error)
    assert chunks[-1].type == "failed"
    assert gateway.closed == (deadline != -1.0)


def test_a_drip_does_not_outlive_the_attempt() -> None:
    """A stream that always says a little, and never waits, still ends with its attempt."""

    class Dripping(Yielding):
        async def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
            while True:
                yield "drip "

    _, error = listen(Dripping(), request(timeouts=Timeouts(attempt=0.05)))
    assert isinstance(error, GatewayError)
    assert error.code == "timeout"


def test_code_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that does not watch silence is bound by its attempt alone."""
    monkeypatch.setattr(Waiting, "watches_silence", False, raising=False)
    limits = Timeouts(first_event=0.001, idle=0.001, attempt=0.05)
    _, error = listen(Waiting("hi"), request(timeouts=limits))
    assert "attempt" in str(error)


def test_timings() -> None:
    """A response says how long it took, first piece and all."""
    timings = ask(Yielding("hi")).timings
    assert 0 < timings.first_event <= timings.total
