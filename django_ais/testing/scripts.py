"""Gateways that say what a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_ais import gateways, registry


@contextmanager
def scripted(answer: Any, *, alias: str = "default") -> Iterator[Any]:
    """Let the gateway of an alias answer from a script: text, a dict (structured output), or a list of answers in
    order.

    Yields the gateway, whose ``requests`` are what was asked. Any other gateway that would call out is refused
    meanwhile.
    """
    kind: Any = registry.gateways.load("scripted")
    with registry.gateways.override(alias, kind.answering(answer, alias=alias)) as gateway, no_requests():
        yield gateway


@contextmanager
def no_requests() -> Iterator[None]:
    """Refuse every gateway call that would leave this process."""
    before, gateways.ALLOW_GATEWAY_REQUESTS = gateways.ALLOW_GATEWAY_REQUESTS, False
    try:
        yield
    finally:
        gateways.ALLOW_GATEWAY_REQUESTS = before
