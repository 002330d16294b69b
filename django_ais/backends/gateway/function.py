"""A gateway that calls a function of yours: ``OPTIONS = {"function": "shop.compute.answer"}``.

The function takes the `GatewayRequest`, and the `GatewayContext` if it takes a second argument. It is plain or
``async``, and returns text, or a dict as the structured output, or yields pieces of text, a dict at the end being the
structured output.

Plain code runs in a thread, so it never stops the event loop: a function in the default executor's
(``asyncio.to_thread``), a generator in one of its own for as long as it lives. Code in a thread cannot be
interrupted. A cancelled call leaves it at once and closes a generator when its current step returns. What such code
opens (a database connection, say) it has to close.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from django_ais.exceptions import ConfigurationError, GatewayError
from django_ais.gateways import BaseGateway, Finished, GatewayContext, GatewayRequest, Yielded

OVER: Any = object()
"""Pulled from a generator that has ended."""


class FunctionGateway(BaseGateway):
    """Calls ``OPTIONS["function"]``: a dotted path, imported at the first call, or the function itself.

    A `GatewayError` that it raises passes; any other exception is an application's bug: ``invalid_request``, not
    retryable, with the exception as ``__cause__``. Usage is estimated. ``cost`` is 0: what the function
    spends is not known.
    """

    class Options(BaseModel):
        """``function``: a dotted path or a callable."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        function: str | Callable[..., Any]

    supports_output_schema: ClassVar[bool] = True  # Does it take a JSON schema for its answer?
    supports_media: ClassVar[bool] = True  # Can messages hold images, sound, documents?
    supports_streaming: ClassVar[bool] = True  # Does an answer come in pieces, before it is whole?
    calls_out: ClassVar[bool] = False  # Does it reach beyond this process?
    watches_silence: ClassVar[bool] = False  # Is long silence a fault?

    provider = "function"
    error_map: ClassVar[Mapping[type | str, str | Callable[[Any], GatewayError]]] = {Exception: "invalid_request"}

    def check(self) -> list[str]:
        """Import the function and say what is wrong with it."""
        try:
            self._function()
        except ConfigurationError as error:
            return [str(error)]
        return []

    async def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
        function = await self._loaded()
        result = await _called(function, _bound(function, request, context))
        output: dict[str, Any] | None = None
        async with aclosing(_values(result)) as values:
            async for value in values:
                if output is not None:
                    raise self._misuse("yielded more after a dict; a dict is the structured output and comes last")
                if isinstance(value, str):
                    yield value
                elif isinstance(value, Mapping):
                    output = dict(value)
                else:
                    raise self._misuse(f"gave a {type(value).__name__}; it may give text or a dict")
        yield Finished(output=output, cost=0)

    async def _loaded(self) -> Callable[..., Any]:
        """The function; a module not imported yet is imported in a thread, since that may take long."""
        path = self.options.function
        if isinstance(path, str) and path.rpartition(".")[0] not in sys.modules:
            return await asyncio.to_thread(self._function)
        return self._function()

    def _function(self) -> Callable[..., Any]:
        path = self.options.function
        if not isinstance(path, str):
            return path  # type: ignore[no-any-return]  # options are Any: each driver has its own
        module, _, name = path.rpartition(".")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(
                f"gateway '{self.alias}': OPTIONS['function'] is '{path}', which cannot be imported: {error}"
            ) from error
        if not callable(function):
            raise ConfigurationError(f"gateway '{self.alias}': OPTIONS['function'] is '{path}', which is not callable")
        return function  # type: ignore[no-any-return]

    def _misuse(self, what: str) -> GatewayError:
        return GatewayError(f"gateway '{self.alias}': {self.options.function} {what}", code="invalid_request")


def _bound(function: Callable[..., Any], request: GatewayRequest, context: GatewayContext) -> Callable[[], Any]:
    """The call, with the context where the function takes one: as a required second argument, or by that name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some written in C
        return partial(function, request)
    if any(p.name == "context" and p.kind is p.KEYWORD_ONLY for p in parameters):
        return partial(function, request, context=context)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) > 1 and (positional[1].default is inspect.Parameter.empty or positional[1].name == "context"):
        return partial(function, request, context)
    return partial(function, request)


async def _called(function: Callable[..., Any], call: Callable[[], Any]) -> Any:
    """What the function returns: a value, or an iterator of values. Only calls that cannot block run on the loop."""
    result = call() if _returns_at_once(function) else _opened(await asyncio.to_thread(_outcome, call))
    return await result if inspect.isawaitable(result) else result


def _returns_at_once(function: Callable[..., Any]) -> bool:
    """Whether calling it only makes a coroutine or a generator."""
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    return any(kind(function) or kind(type(function).__call__) for kind in kinds)


def _outcome(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What a call returns or raises, as a value: a future loses tracebacks, and SystemExit would end the loop."""
    try:
        return call(), None
    except (StopIteration, SystemExit) as error:
        stopped = RuntimeError(f"the function raised {type(error).__name__}")
        stopped.__cause__ = error
        return None, stopped
    except Exception as error:  # noqa: BLE001 - raised again by `_opened`
        return None, error


def _opened(outcome: tuple[Any, Exception | None]) -> Any:
    value, error = outcome
    if error is not None:
        raise error
    return value


async def _values(result: Any) -> AsyncGenerator[Any, None]:
    """The values of whatever a function returned."""
    if isinstance(result, AsyncIterator):
        async with aclosing(result) if isinstance(result, AsyncGenerator) else nullcontext():
            async for value in result:
                yield value
    elif isinstance(result, Iterator):
        async with aclosing(_pulled(result)) as values:
            async for value in values:
                yield value
    else:
        yield result


async def _pulled(iterator: Iterator[Any]) -> AsyncGenerator[Any, None]:
    """Step a plain iterator in a thread of its own, one step for each value that is asked for."""
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ais-function")
    run = contextvars.copy_context().run
    step = partial(next, iterator, OVER)
    is_stepping = False
    try:
        while True:
            is_stepping = True
            outcome = await asyncio.get_running_loop().run_in_executor(thread, run, _outcome, step)
            is_stepping = False
            value = _opened(outcome)
            if value is OVER:
                return
            yield value
    finally:
        closing = _submitted(thread, run, iterator)  # after the step that may still be running
        thread.shutdown(wait=False)
        if closing is not None and not is_stepping:
            await asyncio.wrap_future(closing)


def _submitted(thread: ThreadPoolExecutor, run: Callable[..., Any], iterator: Iterator[Any]) -> Future[Any] | None:
    """Have the thread close a generator; None when the interpreter ends, and the generator with it."""
    try:
        return thread.submit(run, _close, iterator)
    except RuntimeError:
        return None


def _close(iterator: Iterator[Any]) -> None:
    if isinstance(iterator, Generator):
        iterator.close()
