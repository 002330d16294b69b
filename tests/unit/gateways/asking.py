"""Short words for the tests of gateways: ask, and look at what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from django_ais.exceptions import AisError
from django_ais.gateways import (
    BaseGateway,
    Chunk,
    Finished,
    GatewayContext,
    GatewayRequest,
    GatewayResponse,
    MediaPart,
    Message,
    Piece,
    RefusalPart,
    Started,
    TextPart,
    ThinkingPart,
    Timings,
    ToolCallPart,
    Usage,
    Yielded,
)

CONTEXT = GatewayContext(job_id="job", root_id="job", call_key="job:1")


def request(text: str = "hello there", **fields: Any) -> GatewayRequest:
    return GatewayRequest(messages=(Message.user(text),), **fields)


def ask(
    gateway: BaseGateway, asked: GatewayRequest | None = None, context: GatewayContext = CONTEXT
) -> GatewayResponse:
    return asyncio.run(gateway.execute(asked or request(), context))


def listen(
    gateway: BaseGateway, asked: GatewayRequest | None = None, context: GatewayContext = CONTEXT
) -> tuple[list[Chunk], AisError | None]:
    """All chunks, and the error that was raised after them."""

    async def follow() -> tuple[list[Chunk], AisError | None]:
        chunks: list[Chunk] = []
        try:
            async with aclosing(gateway.stream(asked or request(), context)) as stream:
                async for chunk in stream:
                    chunks.append(chunk)
        except AisError as error:
            return chunks, error
        return chunks, None

    return asyncio.run(follow())


def untimed(response: GatewayResponse) -> GatewayResponse:
    """The response without what differs between two equal calls."""
    return response.model_copy(update={"timings": Timings()})


class Yielding(BaseGateway):
    """A driver that yields what it is given, and can do everything."""

    supports_tools = True
    supports_output_schema = True
    supports_media = True
    supports_streaming = True
    calls_out = False

    def __init__(self, *items: Any, ends: bool = True) -> None:
        super().__init__("test")
        self.items = (*items, Finished()) if ends else items
        self.begun = 0
        self.closed = 0

    async def _stream(self, request: GatewayRequest, context: GatewayContext) -> AsyncIterator[Yielded]:
        self.begun += 1
        try:
            for item in self.items:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed += 1


CALL = ToolCallPart(id="c1", name="look", arguments={"city": "Rome"})

STREAMS: dict[str, tuple[Any, ...]] = {
    "text": ("Hel", "lo", ""),
    "nothing": (),
    "parts": (
        ThinkingPart(text="hm"),
        TextPart(text="hi"),
        CALL,
        MediaPart.of("image/png", b"x"),
        RefusalPart(text="no"),
    ),
    "text around a call": ("before ", CALL, "after"),
    "usage twice": (Usage(input_tokens=5), "hi", Usage(input_tokens=5, output_tokens=1)),
    "known late": (Started(model="m", response_id="r"), "hi"),
    "interleaved calls": (
        Piece(kind="tool_call", key=0, id="a", name="look", text='{"city": '),
        Piece(kind="tool_call", key=1, name="ask", text='{"who"'),
        Piece(kind="tool_call", key=0, text='"Rome"}'),
        Piece(kind="tool_call", key=1, text=': "Ada"}'),
    ),
}
