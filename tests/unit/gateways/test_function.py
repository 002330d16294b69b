"""The function gateway calls an application's code, in whichever of Python's colours it is written."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_ais.backends.gateway.function import FunctionGateway
from django_ais.exceptions import ConfigurationError, GatewayError, JobCancelled
from django_ais.gateways import GatewayContext, GatewayRequest, OutputSpec, PartDelta, Timeouts, ToolSpec, fold
from tests.unit.gateways.asking import ask, listen, request, untimed


def calling(function: Any) -> FunctionGateway:
    return FunctionGateway("mine", {"function": function})


def plain(request: GatewayRequest) -> str:
    return f"you said {request.last_user_text}"


async def coroutine(request: GatewayRequest) -> str:
    return plain(request)


def generator(request: GatewayRequest) -> Iterator[str]:
    yield "you said "
    yield request.last_user_text


async def async_generator(request: GatewayRequest) -> AsyncIterator[str]:
    yield "you said "
    yield request.last_user_text


class PlainCallable:
    def __call__(self, request: GatewayRequest) -> str:
        return plain(request)


class AsyncCallable:
    async def __call__(self, request: GatewayRequest) -> str:
        return plain(request)


def prefixed(prefix: str, request: GatewayRequest) -> str:
    return prefix + request.last_user_text


COLOURS: dict[str, Any] = {
    "plain": plain,
    "coroutine": coroutine,
    "generator": generator,
    "async generator": async_generator,
    "callable": PlainCallable(),
    "async callable": AsyncCallable(),
    "partial": functools.partial(prefixed, "you said "),
    "partial of a generator": functools.partial(generator),
    "returns a coroutine": lambda request: coroutine(request),
    "returns a generator": lambda request: generator(request),
    "returns an async generator": lambda request: async_generator(request),
    "returns an iterator": lambda request: iter(["you said ", request.last_user_text]),
}


@pytest.mark.parametrize("function", COLOURS.values(), ids=COLOURS)
def test_every_colour(function: Any) -> None:
    """However a function is written, its text is the answer, whole and in chunks."""
    response = ask(calling(function))
    assert response.text == "you said hello there"
    assert (response.finish, response.output, response.provider) == ("stop", None, "function")
    chunks, _ = listen(calling(function))
    assert untimed(fold(chunks)) == untimed(response)


@pytest.mark.parametrize("function", [generator, async_generator])
def test_pieces_arrive_one_by_one(function: Any) -> None:
    """What is yielded is streamed as it was yielded."""
    chunks, _ = listen(calling(function))
    assert [chunk.text for chunk in chunks if isinstance(chunk, PartDelta)] == ["you said ", "hello there"]


def test_usage_is_estimated() -> None:
    """Tokens are guessed from words and bytes, and marked as a guess; nothing is charged."""
    response = ask(calling(plain))
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.estimated) == (2, 5, True)
    assert response.cost == 0


def test_a_dict_is_structured_output() -> None:
    """A dict, returned or yielded last, is the output; text before it stays text."""

    def ends_with_a_dict(request: GatewayRequest) -> Iterator[Any]:
        yield "counting"
        yield {"n": 2}

    asked = request(output=OutputSpec(schema={"type": "object"}))
    returned = ask(calling(lambda request: {"n": 1}), asked)
    assert (returned.text, returned.output) == ("", {"n": 1})
    yielded = ask(calling(ends_with_a_dict), asked)
    assert (yielded.text, yielded.output) == ("counting", {"n": 2})


def test_the_context_is_given_to_those_who_take_it() -> None:
    """A second argument is the call's context, by place or by name; one with a default of another name is not."""

    def by_place(request: GatewayRequest, its: GatewayContext) -> str:
        return its.call_key

    def by_name(request: GatewayRequest, *, context: GatewayContext) -> str:
        return context.call_key

    def optional(request: GatewayRequest, context: GatewayContext | None = None) -> str:
        return context.call_key if context else "none"

    def other(request: GatewayRequest, limit: int = 5) -> str:
        return str(limit)

    assert [ask(calling(f)).text for f in (by_place, by_name, optional, other)] == ["job:1", "job:1", "job:1", "5"]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("shop_compute")
    monkeypatch.setitem(sys.modules, "shop_compute", made)
    return made


def test_a_dotted_path_is_resolved_late(module: types.ModuleType) -> None:
    """The path is imported by the call, not by building the gateway, and looked up again each time."""
    gateway = FunctionGateway("mine", {"function": "shop_compute.answer"})
    (problem,) = gateway.check()
    assert "shop_compute.answer" in problem
    module.answer = plain  # type: ignore[attr-defined]
    assert gateway.check() == []
    assert ask(gateway).text == "you said hello there"
    module.answer = lambda request: "changed"  # type: ignore[attr-defined]
    assert ask(gateway).text == "changed"


@pytest.mark.parametrize("path", ["no_such_module.answer", "shop_compute.nothing", "answer", "shop_compute.number", ""])
def test_a_wrong_path(path: str, module: types.ModuleType) -> None:
    """A path that leads nowhere is a mistake in the settings: it names alias and path, and fails no provider."""
    module.number = 3  # type: ignore[attr-defined]
    chunks, error = listen(calling(path))
    assert isinstance(error, ConfigurationError)
    assert "'mine'" in str(error)
    assert f"'{path}'" in str(error)
    assert chunks == []


def test_a_module_that_was_not_imported_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call imports it; a module that breaks while it is imported is told with its own words."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_late.py").write_text("def answer(request): return __name__")
    (tmp_path / "shop_broken.py").write_text("from shop_late import nothing")
    assert ask(calling("shop_late.answer")).text == "shop_late"
    _, error = listen(calling("shop_broken.answer"))
    assert isinstance(error, ConfigurationError)
    assert "cannot import name 'nothing'" in str(error)
    monkeypatch.delitem(sys.modules, "shop_late")


def raising(error: BaseException) -> dict[str, Callable[..., Any]]:
    """The same failure in each colour."""

    def fails(request: GatewayRequest) -> str:
        raise error

    async def fails_async(request: GatewayRequest) -> str:
        raise error

    def fails_late(request: GatewayRequest) -> Iterator[str]:
        yield "so far "
        raise error

    async def fails_late_async(request: GatewayRequest) -> AsyncIterator[str]:
        yield "so far "
        raise error

    return {f.__name__: f for f in (fails, fails_async, fails_late, fails_late_async)}


@pytest.mark.parametrize("colour", raising(ValueError()))
@pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), ConnectionError("its own"), TimeoutError(), OSError()])
def test_a_bug_keeps_its_traceback(colour: str, bug: Exception) -> None:
    """An exception of the application is not retried, and is the cause of ours."""
    chunks, error = listen(calling(raising(bug)[colour]))
    assert isinstance(error, GatewayError)
    assert (error.code, error.retryable) == ("invalid_request", False)
    assert error.__cause__ is bug
    assert bug.__traceback__ is not None
    assert error.in_stream is ("late" in colour)
    assert chunks[-1].type == "failed"


@pytest.mark.parametrize("colour", raising(ValueError()))
@pytest.mark.parametrize("ours", [GatewayError("busy", code="overloaded", retry_after=1), JobCancelled("stop")])
def test_our_errors_pass(colour: str, ours: Any) -> None:
    """A function may say itself what happened to its provider, or that the job was cancelled."""
    _, error = listen(calling(raising(ours)[colour]))
    assert error is ours


@pytest.mark.parametrize("colour", ["fails", "fails_late"])
@pytest.mark.parametrize("escape", [StopIteration("x"), SystemExit(3)])
def test_exceptions_that_cannot_cross_threads(colour: str, escape: BaseException) -> None:
    """``StopIteration`` would hang the loop and ``SystemExit`` would end it: both become errors of this call alone."""
    _, error = listen(calling(raising(escape)[colour]))
    assert isinstance(error, GatewayError)
    assert error.code == "invalid_request"


def after_the_dict(request: GatewayRequest) -> Iterator[Any]:
    yield {"n": 1}
    yield "more"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda request: None, "NoneType"),
        (lambda request: 42, "int"),
        (lambda request: ["text"], "list"),
        (after_the_dict, "comes last"),
        (lambda request: {"when": object()}, "ValidationError"),
        (lambda: "no arguments", "TypeError"),
    ],
)
def test_answers_that_are_none(function: Any, words: str) -> None:
    """Anything but text or a dict of JSON is told as what it is."""
    _, error = listen(calling(function))
    assert isinstance(error, GatewayError)
    assert (error.code, words in str(error)) == ("invalid_request", True)


def test_code_may_be_silent() -> None:
    """Code that computes is not taken for a provider that hangs: only the attempt bounds it."""
    done = threading.Event()

    async def slow(request: GatewayRequest) -> str:
        asyncio.get_running_loop().call_later(0.03, done.set)
        await asyncio.to_thread(done.wait, 10)
        return "done"

    assert ask(calling(slow), request(timeouts=Timeouts(first_event=0.001))).text == "done"


def test_tools_are_refused() -> None:
    """A function cannot ask for a tool, so a request that offers one is refused."""
    _, error = listen(calling(plain), request(tools=(ToolSpec(name="look"),)))
    assert isinstance(error, GatewayError)
    assert error.code == "unsupported"


def test_options_name_a_function() -> None:
    """Without a function there is nothing to call; the settings' mistake is named."""
    with pytest.raises(ConfigurationError, match="function"):
        FunctionGateway("mine")
    with pytest.raises(ConfigurationError, match="function"):
        FunctionGateway("mine", {"function": 3})
