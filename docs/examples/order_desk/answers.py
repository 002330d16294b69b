"""The gateway: a function that answers by rules, without a key. Ask a model here instead; nothing else changes."""

from collections.abc import Iterator
from typing import Any

from django_ais.gateways import GatewayRequest

REPLIES = {
    "delivery": "Your parcel is on its way. It arrives tomorrow.",
    "refund": "We are sorry. Your money is back within three days.",
}


def answer(request: GatewayRequest) -> Iterator[str | dict[str, Any]]:
    """A dict where a schema is asked for, else text, piece by piece."""
    text = request.last_user_text
    if request.output is not None:
        yield {"topic": topic_of(text)}
        return
    for word in REPLIES[topic_of(text)].split(" "):
        yield f"{word} "


def topic_of(text: str) -> str:
    """A rule where a model would be asked."""
    for word, topic in (("money", "refund"), ("where", "delivery"), ("delivery", "delivery"), ("refund", "refund")):
        if word in text.lower():
            return topic
    return "thanks"
