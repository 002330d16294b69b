"""What the server of these tests runs: one workflow that talks, and who may start it."""

from __future__ import annotations

from typing import Any

from django_ais import registry
from django_ais.exceptions import GatewayError
from django_ais.retry import Backoff, RetryPolicy
from django_ais.workers import BaseWorker
from tests.app.models import Effect
from tests.harness.waiting import until

TALK = """
name: talk
inputs:
  type: object
  required: [prompt]
  properties:
    prompt: {type: string}
    mood: {type: string, enum: [good, bad, retried, asked], default: good}
jobs:
  - id: answer
    type: clients.talk
    with: {prompt: "${{ inputs.prompt }}", mood: "${{ inputs.mood }}"}
"""


def may(user: Any, action: str, thing: Any) -> bool:
    """An authorizer of a project that lets its users talk."""
    if action == "start":
        return bool(user.is_authenticated) and thing.name == "talk"
    return bool(user.is_authenticated) and action != "inspect" and thing.root.user_id == user.pk


def stand(name: str) -> None:
    """In a job: say that it is here, and wait for the test to let it go on."""
    until(Effect.objects.filter(name=name).exists, what=f"the effect {name}", seconds=60)


@registry.register("clients.talk")
class Talk(BaseWorker):
    """Thinks, uses a tool, says "Hello, Anna" in two pieces with a gate between them, and ends as its mood says."""

    retry_policy = RetryPolicy(max_retries=1, backoff=Backoff(kind="constant", first=0.0))

    def run(self, job: Any) -> Any:
        job.emit("thought.delta", message="turn-1", text="A greeting will do.")
        job.emit("tool.called", call="turn-1/tool-0", name="lookup", arguments={"user": "anna"})
        job.emit("tool.returned", call="turn-1/tool-0", name="lookup", content={"name": "Anna"})
        job.emit("x.shop.greeted", politely=True)
        if job.payload["mood"] == "retried" and job.context.attempt == 1:
            job.emit("message.delta", message="turn-2", text="Go aw")
            stand("half")
            raise GatewayError("cut", code="stream_truncated")
        name = "turn-2" if job.context.attempt == 1 else f"turn-2.{job.context.attempt}"
        job.emit("message.started", message=name)
        job.emit("message.delta", message=name, text="Hello, ")
        stand("half")
        job.emit("message.delta", message=name, text="Anna 😀")
        if job.payload["mood"] == "bad":
            raise GatewayError("the key sk-123 is wrong", code="auth", safe_message="The model refused us.")
        job.emit("message.completed", message=name)
        return "Hello, Anna"
