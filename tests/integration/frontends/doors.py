"""What a front end sends to either door, and a project that lets it in."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from django_ais.models import JobPacket

TALK = """
name: talk
inputs:
  type: object
  required: [prompt]
  additionalProperties: false
  properties:
    prompt: {type: string}
    messages: {type: array}
    state: {}
    language: {type: string, enum: [en, fr], default: en}
jobs:
  - id: answer
    type: give
    with: {prompt: "${{ inputs.prompt }}"}
"""
PATHS = {"agui": "/ais/agui/talk", "ai_sdk": "/ais/ai-sdk/talk/chat"}
TOKEN = "t" * 32
BY_HEADER = "tests.integration.streaming.site.by_header"


def may(user: Any, action: str, thing: Any) -> bool:
    """An authorizer: whoever is logged in may start this workflow, and look at runs of their own."""
    if action == "start":
        return bool(thing.name == "talk")
    return bool(user.is_authenticated) and action == "view" and thing.root.user_id == user.pk


def client_of(user: Any = None, **kwargs: Any) -> Client:
    client = Client(**kwargs)
    if user is not None:
        client.force_login(user)
    return client


def asked(door: str, **more: Any) -> dict[str, Any]:
    """A body of either protocol."""
    said = {"id": "u1", "role": "user"}
    if door == "agui":
        return {
            "threadId": "thread-1", "runId": "run-1", "messages": [{**said, "content": "Where?"}],
            "state": {}, "tools": [], "context": [], "forwardedProps": {}, "protocolVersion": "1.0", **more,
        }  # fmt: skip
    spoken = {**said, "parts": [{"type": "text", "text": "Where?"}]}
    return {"id": "chat-1", "messages": [spoken], "trigger": "submit-message", **more}


def post(user: Any, door: str, body: Any = None, **headers: str) -> Any:
    """POST to a door, and read the stream if there is one."""
    body = asked(door) if body is None else body
    response: Any = client_of(user).post(PATHS[door], body, content_type="application/json", headers=headers)
    if response.streaming:
        response.stream = b"".join(response.streaming_content)
    return response


def runs() -> list[JobPacket]:
    return list(JobPacket.objects.roots().order_by("id"))


def body_of(response: Any) -> bytes:
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content)


both = pytest.mark.parametrize("door", PATHS)
