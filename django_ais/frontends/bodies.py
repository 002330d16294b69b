"""What a front end asks for: the bodies of AG-UI and of the Vercel AI SDK. Values in, values out.

A client's word is taken for what its user and the assistant said, as texts. Its system, developer and tool messages
are dropped: who instructs a model is the project's business. Each mistake is a `DispatchError` of one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django_ais.exceptions import DispatchError
from django_ais.values import UNSTORABLE

Document = dict[str, Any]
HEARD = ("user", "assistant")
ID_LENGTH = 200
SUBMIT, REGENERATE = "submit-message", "regenerate-message"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a run. ``thread`` is the client's word for the conversation, ``request`` what this request is known
    by in it: the same again is the same request.

    ``given`` are inputs as the client names them; ``offered`` those that a workflow gets if it declares them. The rest
    is a protocol's own: the messages as they came and its version; that an answer is to be replaced, and which.
    """

    thread: str
    request: tuple[str, ...]
    given: dict[str, Any]
    offered: dict[str, Any]
    earlier: list[dict[str, Any]] = field(default_factory=list)
    protocol: str = ""
    is_again: bool = False
    instead_of: str = ""

    def inputs(self, declared: Mapping[str, Any] | None) -> dict[str, Any]:
        """The inputs of a workflow, given its ``inputs`` schema: what is offered wins over what is given."""
        if declared is None:
            names: Any = ("prompt", "messages")
        else:
            names = declared.get("properties", {})
        return {**self.given, **{name: value for name, value in self.offered.items() if name in names}}


def parsed(body: bytes) -> Document:
    """The JSON object of a body."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise DispatchError("The body must be a JSON object.")
    return document


def of_agui(document: Document) -> Asked:
    """A ``RunAgentInput``: threadId, runId, messages, state, tools, context, forwardedProps."""
    messages = _messages(document)
    forwarded = _object(document, "forwardedProps")
    offered = {name: document[name] for name in ("state", "context") if document.get(name) is not None}
    return Asked(
        thread=_id(document, "threadId"),
        request=(_id(document, "runId"),),
        given=_object(forwarded, "inputs", of="forwardedProps."),
        offered={**offered, **_conversation(messages, "content")},
        earlier=messages,
        protocol=str(document.get("protocolVersion", "")),
    )


def of_ai_sdk(document: Document) -> Asked:
    """What ``DefaultChatTransport`` sends: id, messages, trigger, messageId, and ``inputs`` by its option ``body``."""
    messages = _messages(document)
    trigger = document.get("trigger", SUBMIT)
    if trigger not in (SUBMIT, REGENERATE):
        raise DispatchError(f"trigger must be {SUBMIT} or {REGENERATE}.")
    conversation = _conversation(messages, "parts")
    if not conversation["messages"] or conversation["messages"][-1]["role"] != "user":
        raise DispatchError("The last message must be the user's, with a text.")
    return Asked(
        thread=_id(document, "id"),
        request=(conversation["messages"][-1]["id"], conversation["prompt"]),  # a message that is edited keeps its id
        given=_object(document, "inputs"),
        offered=conversation,
        is_again=trigger == REGENERATE,
        instead_of=_id(document, "messageId") if document.get("messageId") is not None else "",
    )


def _conversation(messages: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """``messages`` that were said, and the newest text of the user as ``prompt``."""
    said = [
        {"id": message["id"], "role": message["role"], "content": text}
        for message in messages
        if message["role"] in HEARD and (text := _text(message.get(key)))
    ]
    asked = [message["content"] for message in said if message["role"] == "user"]
    return {"messages": said, **({"prompt": asked[-1]} if asked else {})}


def _text(content: Any) -> str:
    """The text of a message: a text, or the texts among its parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str))


def _messages(document: Document) -> list[dict[str, Any]]:
    found = document.get("messages")
    if not isinstance(found, list) or not all(isinstance(message, dict) for message in found):
        raise DispatchError("messages must be a list of objects.")
    for place, message in enumerate(found):
        _id(message, "id", of=f"messages[{place}].")
        if not isinstance(message.get("role"), str):
            raise DispatchError(f"messages[{place}].role must be a text.")
    return found


def _id(document: Document, name: str, *, of: str = "") -> str:
    found = document.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= ID_LENGTH or UNSTORABLE.search(found):
        raise DispatchError(f"{of}{name} must be a text of 1 to {ID_LENGTH} characters.")
    return found


def _object(document: Document, name: str, *, of: str = "") -> dict[str, Any]:
    found = document.get(name)
    if found is not None and not isinstance(found, dict):
        raise DispatchError(f"{of}{name} must be an object.")
    return found or {}
