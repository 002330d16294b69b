"""A NATS server for a module of tests; each test has a stream of its own there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from django_ais.conformance.servers import NatsServer
from tests.harness.private import private

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[NatsServer]:
    with private(NatsServer) as server:
        yield server


@pytest.fixture
def nats_server(shared_server: NatsServer) -> Iterator[NatsServer]:
    """The server, running again after each test."""
    yield shared_server
    shared_server.sigkill()
    shared_server.start()


def names(server: NatsServer) -> dict[str, Any]:
    """Options with names that no other test uses."""
    number = next(_numbers)
    return {"url": server.url, "stream": f"TEST-{number}", "subject": f"test-{number}.jobs"}
