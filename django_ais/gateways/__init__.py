"""The contract of a gateway driver: one model turn, measured and bounded. Pure: no Django.

`BaseGateway` (`base`) is what a driver subclasses; `GatewayRequest` goes in, chunks come out, and `fold` makes a
`GatewayResponse` of them. All values are frozen Pydantic models that survive JSON.
"""

from __future__ import annotations

from django_ais.gateways.assembly import Piece, Yielded
from django_ais.gateways.base import BaseGateway, GatewayContext
from django_ais.gateways.chunks import (
    Chunk,
    Failed,
    Finished,
    PartDelta,
    PartFinished,
    PartStarted,
    Started,
    UsageReported,
    fold,
    parse_chunk,
)
from django_ais.gateways.messages import (
    MediaPart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    Trust,
)
from django_ais.gateways.requests import GatewayRequest, OutputSpec, Timeouts, ToolSpec
from django_ais.gateways.responses import Finish, GatewayResponse, Timings, Usage, UsageBound

ALLOW_GATEWAY_REQUESTS = True
"""False: a driver that ``calls_out`` refuses, so that a test never calls the paid thing by accident.

Set it as ``django_ais.gateways.ALLOW_GATEWAY_REQUESTS = False``; it is read at each call.
"""

__all__ = [
    "ALLOW_GATEWAY_REQUESTS",
    "BaseGateway",
    "Chunk",
    "Failed",
    "Finish",
    "Finished",
    "GatewayContext",
    "GatewayRequest",
    "GatewayResponse",
    "MediaPart",
    "Message",
    "OutputSpec",
    "Part",
    "PartDelta",
    "PartFinished",
    "PartStarted",
    "Piece",
    "RefusalPart",
    "Started",
    "TextPart",
    "ThinkingPart",
    "Timeouts",
    "Timings",
    "ToolCallPart",
    "ToolResultPart",
    "ToolSpec",
    "Trust",
    "Usage",
    "UsageBound",
    "UsageReported",
    "Yielded",
    "fold",
    "parse_chunk",
]
