"""`BaseGateway`: the contract of a gateway driver. Pure: no Django.

**What a call is.** One model turn, or one compute or HTTP call. A driver never loops over tools, never retries, never
sleeps before a retry and never runs a tool: that is the worker's and the runtime's.

**What a driver promises.** Building one does no I/O and imports no client library. One instance serves many calls at
once, from any thread and any event loop, before and after a fork; a cancelled call lets go of what it holds at once.

**What it need not do.** Number chunks, keep the terminal rule, watch the clock, refuse what its flags deny, translate
errors it named in ``error_map``, estimate usage nobody reported: the base does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext
from typing import Any, ClassVar

from pydantic import BaseModel, Field

import django_ais.gateways
from django_ais.drivers import NoOptions, parse_options
from django_ais.exceptions import AisError, ConfigurationError, GatewayError
from django_ais.gateways.assembly import Assembly, Yielded
from django_ais.gateways.chunks import Chunk, Finished, Folding, Started
from django_ais.gateways.messages import MediaPart, ToolCallPart, ToolResultPart, Value
from django_ais.gateways.patience import Patience
from django_ais.gateways.requests import GatewayRequest
from django_ais.gateways.responses import GatewayResponse, Usage, UsageBound

logger = logging.getLogger("django_ais.gateway")

TEMPLATE_TOKENS = 16
"""What a chat template may add around one message, guessed high: no provider publishes it."""


class GatewayContext(Value):
    """Whose call this is. ``deadline``: seconds that the whole job has left. ``call_key`` is handed to the outside."""

    job_id: str = ""
    root_id: str = ""
    tenant: str = ""
    call_key: str = ""
    attempt: int = Field(default=1, ge=1)
    deadline: float | None = None
    alias: str = "default"


Source = Callable[[GatewayRequest, GatewayContext], AsyncIterator[Yielded]]


class BaseGateway:
    """A gateway driver. To write: `_stream`, or, for compute that is not a stream, `execute`.

    ``gateway_class = BaseGateway`` on a worker means "whichever the settings name"; it cannot answer by itself.
    """

    Options: ClassVar[type[BaseModel]] = NoOptions

    supports_tools: ClassVar[bool] = False  # Can the model be offered tools, and be shown their results?
    supports_output_schema: ClassVar[bool] = False  # Does it take a JSON schema for its answer?
    supports_media: ClassVar[bool] = False  # Can messages hold images, sound, documents?
    supports_streaming: ClassVar[bool] = False  # Does an answer come in pieces, before it is whole?
    is_deterministic: ClassVar[bool] = False  # Does the same request get the same answer?
    calls_out: ClassVar[bool] = True  # Does it reach beyond this process? Then `ALLOW_GATEWAY_REQUESTS` governs it.
    watches_silence: ClassVar[bool] = True  # Is long silence a fault? (Not for code that simply takes its time.)

    provider: ClassVar[str | None] = None
    """Who makes the answers; thinking goes back only to the provider of that name."""

    error_map: ClassVar[Mapping[type | str, str | Callable[[Any], GatewayError]]] = {
        ConnectionError: "connection",
        TimeoutError: "timeout",
    }
    """Foreign exceptions: class, or dotted name where the client library is not imported yet → code, or a function."""

    def __init__(self, alias: str = "default", options: Mapping[str, Any] | None = None) -> None:
        self.alias = alias
        self.options = parse_options(self.Options, options, alias=alias, driver=type(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.alias}'>"

    def stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncGenerator[Chunk, None]:
        """Answer in chunks: numbered from 0 without a hole, exactly one terminal chunk at the end.

        Refuses first what the flags deny (`GatewayError`, code ``unsupported``), before anything is sent and before any
        chunk. A failure later yields ``failed`` and then raises. Pulls no further than its reader does. Use it within
        ``contextlib.aclosing``, so that a reader that leaves early closes the connection at once.
        """
        return self._run(request, context, self._source())

    async def execute(self, request: GatewayRequest, context: GatewayContext) -> GatewayResponse:
        """Answer as a whole: the fold of the stream. A subclass may override this instead of `_stream`."""
        folding = Folding()
        async with aclosing(self._run(request, context, self._stream)) as chunks:
            async for chunk in chunks:
                if chunk.type != "failed":  # what is raised next says more
                    folding.add(chunk)
        return folding.response()

    def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
        """Ask, and yield what comes, as an async generator.

        May yield ``str`` (more text), `Piece` (some of any part), a whole part, `Usage` (cumulative), `Started` first
        where the model or the response's id is known, and at the very end `Finished`: what comes after it is not
        read, and a stream that ends without it is ``stream_truncated``.
        """
        raise ConfigurationError(
            f"{self!r} cannot answer. On a worker, gateway_class = BaseGateway means the gateway that "
            "DJANGO_AIS['GATEWAYS'] names; a class of your own writes _stream or execute."
        )

    def trace(
        self, context: GatewayContext, operation: str, name: str, attributes: Mapping[str, Any]
    ) -> AbstractContextManager[Any]:
        """Enter around each call, once per attempt; nothing by default.

        It is entered inside a generator: a context variable set here is seen by the reader between chunks.
        """
        return nullcontext()

    async def count_tokens(self, request: GatewayRequest, context: GatewayContext) -> int | None:
        """Count the input's tokens as the provider does; None where it offers no way. May do I/O."""
        return None

    def estimate(self, request: GatewayRequest) -> UsageBound:
        """Bound what a call can use, without I/O; None where there is no bound.

        A token of any known vocabulary is at least one byte of text, so bytes bound the input; media has no such bound.
        """
        media = any(isinstance(part, MediaPart) for message in request.messages for part in message.parts)
        sent = request.model_dump(mode="json", include={"messages", "tools", "output"})
        size = len(json.dumps(sent, ensure_ascii=False).encode("utf-8", "replace"))
        return UsageBound(
            input_tokens=None if media else size + TEMPLATE_TOKENS * (len(request.messages) + 1),
            output_tokens=request.max_output_tokens,
        )

    def check(self) -> list[str]:
        """Name what is wrong with the configuration, a sentence each. No network."""
        return []

    async def aclose(self) -> None:
        """Let go of connections. The process is about to end, or the settings changed."""

    def classify(self, error: Exception) -> AisError:
        """Translate any exception into our tree; never raises. What is ours already comes back as it is.

        An exception that ``error_map`` does not name is a bug on our side of the wire: ``invalid_request``.
        """
        if isinstance(error, AisError):
            return error
        try:
            return self._translate(error)
        except Exception:  # noqa: BLE001 - a translation that breaks must not hide what it was to translate
            return GatewayError(f"{self._label}: {type(error).__name__}", code="invalid_request")

    def _translate(self, error: Exception) -> GatewayError:
        verdict = next((self.error_map[name] for name in _names(error) if name in self.error_map), "invalid_request")
        if callable(verdict):
            return verdict(error)
        return GatewayError(f"{self._label}: {type(error).__name__}: {str(error)[:500]}", code=verdict)

    @property
    def _label(self) -> str:
        return f"gateway '{self.alias}' ({type(self).__name__})"

    def _source(self) -> Source:
        """Whichever of `_stream` and `execute` the most derived class wrote."""
        for owner in type(self).__mro__:
            if "_stream" in vars(owner):
                break
            if "execute" in vars(owner):
                return self._stream_of_execute
        return self._stream

    async def _stream_of_execute(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
        response: object = await self.execute(request, context)
        if not isinstance(response, GatewayResponse):
            raise GatewayError(
                f"{self._label}: execute returned a {type(response).__name__}, not a GatewayResponse",
                code="invalid_request",
            )
        yield Started(
            model=response.model or request.model,
            provider=response.provider or self.provider,
            response_id=response.response_id,
        )
        for part in response.parts:
            yield part
        if response.usage != Usage():
            yield response.usage
        yield Finished(finish=response.finish, output=response.output, cost=response.cost)

    async def _run(
        self, request: GatewayRequest, context: GatewayContext, source: Source
    ) -> AsyncGenerator[Chunk, None]:
        pieces = source(request, context)
        self._refuse_denied(request)
        assembly = Assembly(request, call_key=context.call_key, provider=self.provider, label=self._label)
        patience = Patience(
            request.timeouts,
            deadline=context.deadline,
            watches_silence=self.watches_silence and source == self._stream,
            label=self._label,
        )
        with self.trace(context, "chat", request.model or self.alias, self._attributes(request, context)):
            try:
                async with _closing(pieces, self._label):
                    while not assembly.has_finished:
                        for chunk in assembly.take(await patience.next(pieces)):
                            yield _timed(chunk, patience)
            except Exception as foreign:  # raised again, translated
                error = self.classify(foreign)
                if isinstance(error, GatewayError):
                    error.in_stream = error.in_stream or assembly.has_parts
                    if failed := assembly.fail(error):
                        yield failed
                if error is foreign:
                    raise
                raise error from foreign

    def _refuse_denied(self, request: GatewayRequest) -> None:
        for flag, what in _needs(request):
            if not getattr(self, flag):
                raise GatewayError(
                    f"{self._label} was asked for {what}, but its {flag} is False. Nothing was sent.",
                    code="unsupported",
                    billed="no",
                )
        if self.calls_out and not django_ais.gateways.ALLOW_GATEWAY_REQUESTS:
            raise ConfigurationError(
                f"{self._label} would call out, and django_ais.gateways.ALLOW_GATEWAY_REQUESTS is False. Name the "
                "'scripted' or 'function' driver in DJANGO_AIS['GATEWAYS'], or say calls_out = False in a class of "
                "your own that stays inside the process."
            )

    def _attributes(self, request: GatewayRequest, context: GatewayContext) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "model": request.model,
            "job_id": context.job_id,
            "call_key": context.call_key,
            "attempt": context.attempt,
        }


def _needs(request: GatewayRequest) -> Iterator[tuple[str, str]]:
    """The flags that a request needs, each with what it asks for."""
    parts = [part for message in request.messages for part in message.parts]
    if request.tools or any(isinstance(part, ToolCallPart | ToolResultPart) for part in parts):
        yield "supports_tools", "tools"
    if request.output is not None:
        yield "supports_output_schema", "an answer that fits a schema"
    if any(isinstance(part, MediaPart) for part in parts):
        yield "supports_media", "media"


def _names(error: Exception) -> Iterator[type | str]:
    """What ``error_map`` may call this exception, the most precise name first."""
    for kind in type(error).__mro__:
        yield kind
        yield f"{kind.__module__}.{kind.__qualname__}"


@asynccontextmanager
async def _closing(pieces: AsyncIterator[Yielded], label: str) -> AsyncIterator[None]:
    """Close a driver's stream at the end. What fails while closing is logged: it must not undo a paid answer."""
    try:
        yield
    finally:
        if isinstance(pieces, AsyncGenerator):
            try:
                await pieces.aclose()
            except Exception:
                logger.warning("%s failed to close its stream", label, exc_info=True)


def _timed(chunk: Chunk, patience: Patience) -> Chunk:
    if isinstance(chunk, Finished) and chunk.timings is None:
        return chunk.model_copy(update={"timings": patience.timings()})
    return chunk
