"""The jobs of `rq_`, at a path where its worker processes find them."""

from __future__ import annotations

from tests.benchmarks.peers import clock


def echo(n: int) -> int:
    return n


def tell() -> None:
    clock.tell()
