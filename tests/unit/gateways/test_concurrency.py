"""One gateway instance serves every thread and every event loop of its process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_ais.backends.gateway.function import FunctionGateway
from django_ais.backends.gateway.scripted import ScriptedGateway, on, script
from django_ais.gateways import BaseGateway, GatewayContext, GatewayRequest
from tests.unit.gateways.asking import CONTEXT, ask, request
from tests.unit.gateways.test_function import async_generator, coroutine, generator, plain


def scripted() -> ScriptedGateway:
    return script(*(on(f"number {n}.").says("you said ", f"number {n}.") for n in range(100)))


def calling(function: Callable[..., object]) -> Callable[[], FunctionGateway]:
    return lambda: FunctionGateway("mine", {"function": function})


GATEWAYS: dict[str, Callable[[], BaseGateway]] = {
    "scripted": scripted,
    "plain": calling(plain),
    "coroutine": calling(coroutine),
    "generator": calling(generator),
    "async generator": calling(async_generator),
}


@pytest.mark.parametrize("build", GATEWAYS.values(), ids=GATEWAYS)
def test_a_hundred_calls_from_sixteen_threads(build: Callable[[], BaseGateway]) -> None:
    """Threads with event loops of their own share one instance; each call gets its own answer."""
    gateway = build()

    def call(n: int) -> str:
        return ask(gateway, request(f"number {n}."), GatewayContext(call_key=f"job:{n}")).text

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(call, range(100))) == [f"you said number {n}." for n in range(100)]
    if isinstance(gateway, ScriptedGateway):
        assert len(gateway.requests) == 100


@pytest.mark.parametrize("build", GATEWAYS.values(), ids=GATEWAYS)
def test_one_loop_after_another(build: Callable[[], BaseGateway]) -> None:
    """An instance outlives the loop that it was first used in."""
    gateway = build()
    assert [ask(gateway, request(f"number {n}.")).text for n in range(5)] == [f"you said number {n}." for n in range(5)]


@pytest.mark.parametrize("build", GATEWAYS.values(), ids=GATEWAYS)
def test_many_calls_in_one_loop(build: Callable[[], BaseGateway]) -> None:
    """Calls that run at the same time in one loop do not mix."""
    gateway = build()

    async def call(n: int) -> str:
        return (await gateway.execute(request(f"number {n}."), CONTEXT)).text

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(call(n) for n in range(50)))

    assert asyncio.run(all_of_them()) == [f"you said number {n}." for n in range(50)]


def test_a_sequence_is_given_out_once() -> None:
    """However many threads ask, each answer of a sequence is given to one of them."""
    gateway = ScriptedGateway.answering([str(n) for n in range(64)])

    def call(_: int) -> str:
        return ask(gateway, GatewayRequest()).text

    with ThreadPoolExecutor(16) as threads:
        assert sorted(threads.map(call, range(64)), key=int) == [str(n) for n in range(64)]
