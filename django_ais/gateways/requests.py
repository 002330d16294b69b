"""One question to a gateway, whole: what to ask, with what limits. Values only, JSON round trip, no Django."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, JsonValue, model_validator

from django_ais.gateways.messages import Message, ToolResultPart, Value


def _no_arguments() -> dict[str, JsonValue]:
    return {"type": "object", "properties": {}}


class ToolSpec(Value):
    """What a model is told about a tool; ``parameters`` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, JsonValue] = Field(default_factory=_no_arguments)


class OutputSpec(Value):
    """The JSON schema that the answer should fit.

    Built with ``schema=...``; read it as ``json_schema``, since Pydantic has a method of the other name. A gateway asks
    for it and does not validate: that is the worker's.
    """

    json_schema: dict[str, JsonValue] = Field(alias="schema")
    name: str = "output"
    strict: bool = True

    @model_validator(mode="before")
    @classmethod
    def _by_either_name(cls, value: Any) -> Any:
        """Its own dump says ``json_schema``."""
        if isinstance(value, Mapping) and "json_schema" in value and "schema" not in value:
            return {"schema" if name == "json_schema" else name: field for name, field in value.items()}
        return value


class Timeouts(Value):
    """Limits of one attempt, in seconds; None for no limit.

    ``first_event`` and ``idle`` (between two events) bound silence, ``attempt`` the whole call, its reader included.
    `BaseGateway` keeps these three; ``connect`` is the driver's, which alone knows when it is connected.
    """

    connect: float | None = Field(default=5.0, gt=0)
    first_event: float | None = Field(default=60.0, gt=0)
    idle: float | None = Field(default=60.0, gt=0)
    attempt: float | None = Field(default=300.0, gt=0)


class GatewayRequest(Value):
    """One model turn (or one compute call) to make.

    ``model`` None is the driver's default. ``settings`` holds ``temperature``, ``max_output_tokens``, ``stop`` and
    the like; ``provider_options`` what only one provider knows, under its name. ``metadata`` is for labels, never for
    secrets.
    """

    model: str | None = None
    messages: tuple[Message, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    output: OutputSpec | None = None
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    provider_options: dict[str, JsonValue] = Field(default_factory=dict)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    def fingerprint(self) -> str:
        """The sha256, in hex, of what is asked: canonical JSON without ``timeouts`` and ``metadata``.

        It is recorded with a step and compared on replay, so it may never change for an old request: a field added
        later has to be left out here while it holds its default.
        """
        asked = self.model_dump(mode="json", exclude={"timeouts", "metadata"})
        return hashlib.sha256(canonical_json(asked).encode("ascii")).hexdigest()

    def messages_for(self, provider: str) -> tuple[Message, ...]:
        """The messages that ``provider`` may see: without the thinking of others, and none left empty by that."""
        seen = (message.for_provider(provider) for message in self.messages)
        return tuple(message for message in seen if message.parts)

    @property
    def last_user_text(self) -> str:
        """The text of the latest user message; empty where there is none."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def last_tool_results(self) -> tuple[ToolResultPart, ...]:
        """The tool results that this turn has to answer: those at the end of the messages."""
        results: list[ToolResultPart] = []
        for message in reversed(self.messages):
            if message.role != "tool":
                break
            results[:0] = [part for part in message.parts if isinstance(part, ToolResultPart)]
        return tuple(results)

    @property
    def max_output_tokens(self) -> int | None:
        """The bound of the answer's length, where ``settings`` gives one."""
        bound = self.settings.get("max_output_tokens")
        return bound if isinstance(bound, int) and not isinstance(bound, bool) and bound >= 0 else None


def canonical_json(value: Any) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, ASCII. Raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
