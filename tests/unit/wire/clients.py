"""What the clients of the two protocols do with a stream, and what they refuse, in a few lines each.

The real ones are asked in ``tests/integration/clients``; these can be asked of every stream there may be.
"""

from __future__ import annotations

import json
from typing import Any

Event = dict[str, Any]
OPENERS = {
    "TEXT_MESSAGE": ("messageId", "CONTENT"),
    "REASONING_MESSAGE": ("messageId", "CONTENT"),
    "REASONING": ("messageId", ""),
    "TOOL_CALL": ("toolCallId", "ARGS"),
    "STEP": ("stepName", ""),
}


def lines_of(stream: bytes) -> list[str]:
    """The data of each frame. Refuses what either client dies of."""
    assert b"\r" not in stream
    blocks = stream.decode().split("\n\n")
    assert blocks.pop() == "", "it ends within a frame"
    blocks = [block for block in blocks if not block.startswith((": ", "retry: "))]
    assert all(block.startswith("data: ") and block.count("\n") == 0 and len(block) > 6 for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


class AgUiClient:
    """The rules of AG-UI's ``verify``, and the messages that its ``apply`` comes to."""

    def __init__(self, messages: list[Event] | None = None) -> None:
        self.messages = {message["id"]: dict(message) for message in messages or []}
        self.open: set[tuple[str, str]] = set()
        self.events: list[Event] = []

    def read(self, stream: bytes) -> AgUiClient:
        """Take a whole answer."""
        for line in lines_of(stream):
            event = json.loads(line)
            assert not self.events or self.events[-1]["type"] not in ("RUN_FINISHED", "RUN_ERROR"), "it was over"
            assert bool(self.events) or event["type"] in ("RUN_STARTED", "RUN_ERROR")
            assert None not in event.values(), event
            self.events.append(event)
            self._check(event)
            self._apply(event)
        return self

    def _check(self, event: Event) -> None:
        kind = event["type"]
        for opener, (key, middle) in OPENERS.items():
            thing = (opener, event.get(key, ""))
            if kind == f"{opener}_START" or kind == f"{opener}_STARTED":
                assert thing not in self.open, f"{thing} is open"
                self.open.add(thing)
            elif kind in (f"{opener}_END", f"{opener}_FINISHED"):
                assert thing in self.open, f"{thing} is not open"
                self.open.discard(thing)
            elif middle and kind == f"{opener}_{middle}":
                assert thing in self.open, f"{thing} is not open"
                assert event["delta"]
        if kind == "RUN_FINISHED":
            assert not self.open

    def _apply(self, event: Event) -> None:
        match event["type"]:
            case "TEXT_MESSAGE_START" | "REASONING_MESSAGE_START":
                begun = {"id": event["messageId"], "role": event["role"], "content": ""}
                self.messages.setdefault(event["messageId"], begun)
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                self.messages[event["messageId"]]["content"] += event["delta"]
            case "TOOL_CALL_START":
                function = {"name": event["toolCallName"], "arguments": ""}
                call = {"id": event["toolCallId"], "type": "function", "function": function}
                message = {"id": event["toolCallId"], "role": "assistant", "toolCalls": [call]}
                self.messages.setdefault(message["id"], message)
            case "TOOL_CALL_ARGS":
                self.messages[event["toolCallId"]]["toolCalls"][0]["function"]["arguments"] += event["delta"]
            case "TOOL_CALL_RESULT":
                fields = {"id": event["messageId"], "role": "tool", "toolCallId": event["toolCallId"]}
                self.messages[event["messageId"]] = {**fields, "content": event["content"]}
            case "MESSAGES_SNAPSHOT":
                self.messages = {message["id"]: json.loads(json.dumps(message)) for message in event["messages"]}


class VercelClient:
    """The parts of the one message that the AI SDK's ``processUIMessageStream`` comes to."""

    def __init__(self) -> None:
        self.id = ""
        self.parts: dict[str, Event] = {}
        self.transient: list[Event] = []
        self.ending = ""
        self._open: set[str] = set()

    def read(self, stream: bytes) -> VercelClient:
        """Take a whole answer, which ends in ``[DONE]``."""
        *lines, done = lines_of(stream)
        assert done == "[DONE]"
        assert "[DONE]" not in lines
        for line in lines:
            chunk = json.loads(line)
            assert not self.ending, "it was over"
            assert self.id or chunk["type"] in ("start", "error")
            self._apply(chunk)
        assert self.ending
        return self

    def _apply(self, chunk: Event) -> None:
        kind = chunk["type"].partition("-")[0]
        match chunk["type"]:
            case "start":
                self.id = chunk["messageId"]
                self.parts, self._open = {}, set()
            case "text-start" | "reasoning-start":
                assert chunk["id"] not in self.parts
                self._open.add(chunk["id"])
                self.parts[chunk["id"]] = {"type": kind, "text": ""}
            case "text-delta" | "reasoning-delta":
                assert chunk["id"] in self._open
                self.parts[chunk["id"]]["text"] += chunk["delta"]
            case "text-end" | "reasoning-end":
                self._open.remove(chunk["id"])
            case "tool-input-available":
                self.parts[chunk["toolCallId"]] = {"type": f"tool-{chunk['toolName']}", "input": chunk["input"]}
            case "tool-output-available" | "tool-output-error":
                self.parts[chunk["toolCallId"]]["output"] = chunk.get("output", chunk.get("errorText"))
            case "finish" | "abort" | "error":
                self.ending = str(chunk.get("errorText", chunk["type"]))
            case type if type.startswith("data-"):
                self._data(chunk)
            case type:
                assert type in ("start-step", "finish-step"), f"no client knows {type}"

    def _data(self, chunk: Event) -> None:
        if chunk.get("transient"):
            self.transient.append(chunk)
        else:
            self.parts[f"{chunk['type']} {chunk['id']}"] = chunk["data"]
