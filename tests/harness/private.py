"""Servers of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import pytest

from django_ais.conformance.servers import MissingServer, Server, in_ci

S = TypeVar("S", bound=Server)


@contextmanager
def private(kind: type[S]) -> Iterator[S]:
    """A running server of this kind. Where it cannot be had the test is not run, loudly; in CI that is an error."""
    server = kind()
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except MissingServer as error:
            if in_ci():
                raise
            pytest.skip(f"NOT RUN: {error}")
        yield server
