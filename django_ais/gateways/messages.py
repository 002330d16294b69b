"""What goes to a model: messages and their parts. Values only, JSON round trip, no Django.

Each part says how far it can be trusted. ``trust`` is ``developer`` (written by the application's authors), ``user``,
``tool`` (made by a program or a model on our behalf) or ``external`` (read from somewhere else: a web page, a mail).
Text of ``tool`` or ``external`` can never be part of a system message.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Trust = Literal["developer", "user", "tool", "external"]
Role = Literal["system", "user", "assistant", "tool"]
PartKind = Literal["text", "thinking", "tool_call", "tool_result", "media", "refusal"]


class Value(BaseModel):
    """A frozen value that survives ``model_dump(mode="json")`` and back.

    Unknown fields are errors, and so are NaN and infinity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TextPart(Value):
    """Words."""

    type: Literal["text"] = "text"
    text: str
    trust: Trust = "user"


class ThinkingPart(Value):
    """What a model thought before it answered.

    ``signature`` is state that only ``provider`` can read: `GatewayRequest.messages_for` leaves it out for anybody
    else.
    """

    type: Literal["thinking"] = "thinking"
    text: str = ""
    signature: str | None = Field(default=None, repr=False)
    provider: str | None = None
    trust: Trust = "tool"


class ToolCallPart(Value):
    """A model asks for a tool. An empty ``id`` is given a stable one by `BaseGateway`.

    Where the model's arguments were not a JSON object, ``arguments`` is empty and ``malformed`` holds what it wrote:
    that is an answer to give back to the model, not an exception.
    """

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    malformed: str | None = None
    trust: Trust = "tool"


class ToolResultPart(Value):
    """What a tool answered to the call of that ``id``. Say ``trust="external"`` for what it read elsewhere."""

    type: Literal["tool_result"] = "tool_result"
    id: str
    name: str
    content: JsonValue = ""
    is_error: bool = False
    trust: Trust = "tool"

    @property
    def text(self) -> str:
        """The content as a model reads it: text as it is, all else as JSON."""
        return self.content if isinstance(self.content, str) else json.dumps(self.content, ensure_ascii=False)


class MediaPart(Value):
    """An image, a sound or a document: its bytes in base64 (``data``) or where to find them (``url``), never both."""

    type: Literal["media"] = "media"
    mime: str
    data: str | None = Field(default=None, repr=False)
    url: str | None = None
    trust: Trust = "user"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.data is None) == (self.url is None):
            raise ValueError("give either data (base64) or url")
        try:
            base64.b64decode(self.data or "", validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("data is not base64; MediaPart.of(mime, content) encodes bytes") from None
        return self

    @classmethod
    def of(cls, mime: str, content: bytes, *, trust: Trust = "user") -> Self:
        """Build one from bytes."""
        return cls(mime=mime, data=base64.b64encode(content).decode("ascii"), trust=trust)

    @property
    def content(self) -> bytes | None:
        """The bytes, or None for a ``url``."""
        return None if self.data is None else base64.b64decode(self.data)


class RefusalPart(Value):
    """The model said that it will not answer."""

    type: Literal["refusal"] = "refusal"
    text: str
    trust: Trust = "tool"


Part = Annotated[
    TextPart | ThinkingPart | ToolCallPart | ToolResultPart | MediaPart | RefusalPart, Field(discriminator="type")
]

SPOKEN_BY: dict[Role, frozenset[PartKind]] = {
    "system": frozenset({"text"}),
    "user": frozenset({"text", "media"}),
    "assistant": frozenset({"text", "thinking", "tool_call", "media", "refusal"}),
    "tool": frozenset({"tool_result"}),
}


class Message(Value):
    """One turn of a conversation. A role that cannot hold a part, or a system message of untrusted text, is refused."""

    role: Role
    parts: tuple[Part, ...]

    @model_validator(mode="after")
    def _in_its_place(self) -> Self:
        for part in self.parts:
            if part.type not in SPOKEN_BY[self.role]:
                raise ValueError(f"a {self.role} message cannot hold a {part.type} part")
            if self.role == "system" and part.trust in ("tool", "external"):
                raise ValueError(f"text of trust '{part.trust}' cannot become a system message")
        return self

    @classmethod
    def system(cls, text: str) -> Self:
        """The application's own instructions."""
        return cls(role="system", parts=(TextPart(text=text, trust="developer"),))

    @classmethod
    def user(cls, text: str, *, trust: Trust = "user") -> Self:
        """What a person asks; say ``trust="external"`` for a text that came from elsewhere."""
        return cls(role="user", parts=(TextPart(text=text, trust=trust),))

    @classmethod
    def assistant(cls, text: str) -> Self:
        """What a model answered; `GatewayResponse.message` keeps thinking and tool calls too."""
        return cls(role="assistant", parts=(TextPart(text=text, trust="tool"),))

    @classmethod
    def tool(cls, call: ToolCallPart, content: JsonValue, *, is_error: bool = False, trust: Trust = "tool") -> Self:
        """The answer to one tool call."""
        result = ToolResultPart(id=call.id, name=call.name, content=content, is_error=is_error, trust=trust)
        return cls(role="tool", parts=(result,))

    @property
    def text(self) -> str:
        """Its text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    def for_provider(self, provider: str) -> Message:
        """The same message without the thinking of any other provider."""
        parts = tuple(part for part in self.parts if not isinstance(part, ThinkingPart) or part.provider == provider)
        return self if len(parts) == len(self.parts) else self.model_copy(update={"parts": parts})
