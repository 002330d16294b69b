"""What `BaseGateway` adds to a driver: refusals, translation, `execute` for `stream`, options, bounds."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

import django_ais.gateways
from django_ais.exceptions import AisError, ConfigurationError, GatewayError, LeaseLost
from django_ais.gateways import (
    BaseGateway,
    GatewayContext,
    GatewayRequest,
    GatewayResponse,
    MediaPart,
    Message,
    OutputSpec,
    TextPart,
    ToolSpec,
    Usage,
    Yielded,
    fold,
)
from tests.unit.gateways.asking import CALL, CONTEXT, STREAMS, Yielding, ask, listen, request, untimed

NEEDS = {
    "supports_tools": [
        request(tools=(ToolSpec(name="look"),)),
        GatewayRequest(messages=(Message(role="assistant", parts=(CALL,)),)),
        GatewayRequest(messages=(Message.tool(CALL, "blue"),)),
    ],
    "supports_output_schema": [request(output=OutputSpec(schema={}))],
    "supports_media": [GatewayRequest(messages=(Message(role="user", parts=(MediaPart.of("a/b", b""),)),))],
}


@pytest.mark.parametrize(("flag", "asked"), [(flag, asked) for flag, all_ in NEEDS.items() for asked in all_])
def test_a_false_flag_refuses_before_anything_is_sent(
    flag: str, asked: GatewayRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a flag denies is refused without a chunk and without the driver; what it allows is done."""
    gateway = Yielding("hi")
    assert ask(gateway, asked).text == "hi"
    monkeypatch.setattr(Yielding, flag, False)
    chunks, error = listen(gateway, asked)
    assert isinstance(error, GatewayError)
    assert (error.code, error.billed, chunks, gateway.begun) == ("unsupported", "no", [], 1)
    assert flag in str(error)
    assert ask(gateway).text == "hi"


def test_calls_out_only_where_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the switch off, a driver that calls out refuses and says what to do; one that does not is not concerned."""

    class CallsOut(Yielding):
        calls_out = True

    assert ask(CallsOut("hi")).text == "hi"
    monkeypatch.setattr(django_ais.gateways, "ALLOW_GATEWAY_REQUESTS", False)
    gateway = CallsOut("hi")
    with pytest.raises(ConfigurationError, match="ALLOW_GATEWAY_REQUESTS"):
        ask(gateway)
    assert gateway.begun == 0
    assert ask(Yielding("hi")).text == "hi"


class ForeignError(Exception):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Mapped(Yielding):
    error_map: ClassVar[Mapping[type | str, str | Callable[[Any], GatewayError]]] = {
        "tests.unit.gateways.test_base.ForeignError": lambda error: GatewayError(
            "busy", code="rate_limited", retry_after=float(error.args[0])
        ),
        OSError: "connection",
        KeyError: "no such code",
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ForeignError("3"), "rate_limited"),
        (ForeignError("soon"), "invalid_request"),
        (BrokenPipeError("gone"), "connection"),
        (KeyError("x"), "invalid_request"),
        (ZeroDivisionError("a bug"), "invalid_request"),
        (Unspeakable(), "invalid_request"),
    ],
    ids=["by name", "a translation that fails", "by a base class", "a wrong code", "not named", "no text"],
)
def test_foreign_errors_are_translated(error: Exception, code: str) -> None:
    """A foreign exception becomes ours, keeps its traceback as the cause, and never gets out as it is."""
    chunks, raised = listen(Mapped("some text", error))
    assert isinstance(raised, GatewayError)
    assert raised.code == code
    assert raised.in_stream
    assert raised.__cause__ is error
    assert chunks[-1].type == "failed"


def test_default_translation() -> None:
    """Without a map of its own a driver still tells a broken connection and a timeout from a bug."""
    assert [BaseGateway().classify(error).code for error in (ConnectionResetError(), TimeoutError(), ValueError())] == [
        "connection",
        "timeout",
        "invalid_request",
    ]


def test_our_errors_pass_as_they_are() -> None:
    """A gateway error is not wrapped again; a lost lease is no failure of the gateway and gets no chunk."""
    busy = GatewayError("busy", code="overloaded")
    chunks, raised = listen(Yielding(busy))
    assert raised is busy
    assert not busy.in_stream
    assert [chunk.type for chunk in chunks] == ["failed"]
    lost = LeaseLost("gone")
    chunks, raised = listen(Yielding("hi", lost))
    assert raised is lost
    assert "failed" not in [chunk.type for chunk in chunks]


class Wrapper(Yielding):
    """Hands another gateway's chunks through."""

    def __init__(self, inner: BaseGateway) -> None:
        super().__init__()
        self.inner = inner

    async def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
        async with aclosing(self.inner.stream(request, context)) as chunks:
            async for chunk in chunks:
                yield chunk


@pytest.mark.parametrize("items", STREAMS.values(), ids=STREAMS)
def test_a_wrapper_hands_chunks_through(items: tuple[Any, ...]) -> None:
    """A gateway around a gateway changes nothing that it does not mean to change, and closes what it wraps."""
    inner = Yielding(*items)
    assert untimed(ask(Wrapper(inner))) == untimed(ask(Yielding(*items)))
    assert inner.closed == 1


def test_a_wrapper_hands_failures_through() -> None:
    """The error of a wrapped gateway arrives as the same object, with one terminal chunk in all."""
    busy = GatewayError("busy", code="overloaded")
    chunks, raised = listen(Wrapper(Yielding("hi", busy)))
    assert raised is busy
    assert [chunk.type for chunk in chunks].count("failed") == 1


def test_the_bare_base_cannot_answer() -> None:
    """`BaseGateway` stands for the one in the settings: asked itself, it says so."""
    with pytest.raises(ConfigurationError, match="GATEWAYS"):
        ask(BaseGateway())
    _, error = listen(BaseGateway())
    assert isinstance(error, ConfigurationError)


class Computed(BaseGateway):
    """Compute that is not a stream."""

    calls_out = False

    async def execute(self, request: GatewayRequest, context: GatewayContext) -> GatewayResponse:
        if request.last_user_text == "fail":
            raise ZeroDivisionError
        parts = (TextPart(text=request.last_user_text.upper(), trust="external"),)
        return GatewayResponse(
            parts=parts, output={"n": 1}, cost=3, model="m", provider="p", usage=Usage(input_tokens=2)
        )


def test_execute_alone_is_enough() -> None:
    """A class that writes only ``execute`` streams too: the same answer, under the same rules."""
    chunks, error = listen(Computed())
    assert error is None
    assert untimed(fold(chunks)) == untimed(ask(Computed()))
    chunks, error = listen(Computed(), request("fail"))
    assert isinstance(error, GatewayError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    chunks, error = listen(Computed(), request(tools=(ToolSpec(name="look"),)))
    assert isinstance(error, GatewayError)
    assert (error.code, chunks) == ("unsupported", [])


def test_the_most_derived_method_counts() -> None:
    """``execute`` overridden around a streaming driver is what its stream tells; ``super().execute`` is that driver."""

    class Shouting(Yielding):
        async def execute(self, request: GatewayRequest, context: GatewayContext) -> GatewayResponse:
            response = await super().execute(request, context)
            return response.model_copy(update={"parts": (TextPart(text=response.text.upper()),)})

    chunks, _ = listen(Shouting("hi"))
    assert fold(chunks).text == "HI" == ask(Shouting("hi")).text


def test_execute_that_returns_something_else() -> None:
    """``execute`` has to return a response; the message says what it returned."""

    class Wrong(BaseGateway):
        calls_out = False

        async def execute(self, request: GatewayRequest, context: GatewayContext) -> GatewayResponse:
            return "text"  # type: ignore[return-value]

    _, error = listen(Wrong())
    assert "returned a str" in str(error)


def test_trace_surrounds_each_call_once() -> None:
    """``trace`` is entered once for a call, knows what it is, and sees how it ends."""
    seen: list[Any] = []

    class Traced(Yielding):
        @contextmanager
        def trace(
            self, context: GatewayContext, operation: str, name: str, attributes: Mapping[str, Any]
        ) -> Iterator[None]:
            seen.append((operation, name, attributes["call_key"]))
            try:
                yield
            except AisError as error:
                seen.append(error)
                raise
            seen.append("done")

    ask(Traced("hi"), request(model="m"))
    busy = GatewayError("busy", code="overloaded")
    listen(Traced(busy))
    assert seen == [("chat", "m", "job:1"), "done", ("chat", "test", "job:1"), busy]


class Optioned(BaseGateway):
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        api_key: str
        size: int = 1


@pytest.mark.parametrize("options", [{"api_key": "k", "sise": 2}, {"api_key": "canary", "size": "canary"}, {}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    """A wrong option is an error that names alias and field, and shows no value: some are secrets."""
    with pytest.raises(ConfigurationError, match=r"'mine'.*(sise|size|api_key)") as caught:
        Optioned("mine", options)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_repr_shows_no_options() -> None:
    """An instance may be printed anywhere."""
    assert repr(Optioned("mine", {"api_key": "canary"})) == "<Optioned 'mine'>"


def test_estimate_is_an_upper_bound() -> None:
    """Input is bounded by bytes, output by what the settings allow; where there is no bound, there is None."""
    bound = BaseGateway().estimate(request("hello " * 100, settings={"max_output_tokens": 50}))
    assert bound.input_tokens is not None
    assert bound.input_tokens >= 600
    assert bound.output_tokens == 50
    assert BaseGateway().estimate(request()).output_tokens is None
    assert BaseGateway().estimate(NEEDS["supports_media"][0]).input_tokens is None


def test_the_rest_does_nothing_by_default() -> None:
    """A driver has to write none of these."""

    async def rest() -> None:
        gateway = BaseGateway()
        assert await gateway.count_tokens(request(), CONTEXT) is None
        assert gateway.check() == []
        await gateway.aclose()

    asyncio.run(rest())


def test_needs_no_django() -> None:
    """The contract and both drivers import with Django blocked."""
    code = (
        "import sys; sys.modules['django'] = None; sys.modules['asgiref'] = None\n"
        "import django_ais.gateways, django_ais.backends.gateway.scripted, django_ais.backends.gateway.function"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
