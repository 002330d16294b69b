"""The actors of `dramatiq_`, at a path where its worker processes find them."""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import dramatiq

from tests.benchmarks.peers import clock


@dramatiq.actor
def echo(n: int) -> int:
    return n


@dramatiq.actor
def tell() -> None:
    clock.tell()
