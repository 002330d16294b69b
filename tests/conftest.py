"""What every test gets: settings, a database of its own, and no way out to the network.

`AIS_TEST_DB=postgres` starts one private PostgreSQL for the session, here at import, because Django's settings name its
port. pytest-django finds settings that are set up already.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.harness.servers import MissingServer, PostgresServer, in_ci

SESSION = ExitStack()


def start_session() -> None:
    """Start what the settings name, tell it through the environment (child processes read it too), set Django up."""
    if "AIS_TEST_DIR" not in os.environ:
        os.environ["AIS_TEST_DIR"] = SESSION.enter_context(tempfile.TemporaryDirectory(prefix="ais-test-"))
    if os.environ.get("AIS_TEST_DB") == "postgres" and "AIS_TEST_PG_PORT" not in os.environ:
        try:
            server = SESSION.enter_context(PostgresServer())
        except MissingServer as error:
            raise pytest.UsageError(str(error)) from error
        os.environ["AIS_TEST_PG_PORT"] = str(server.port)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()


start_session()
signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))  # leave no server behind


def pytest_unconfigure() -> None:
    SESSION.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked `full` too: minutes, not seconds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that would leave this machine is an error at once, instead of a slow or a paid test."""

    def guarded(connect: Any) -> Any:
        def connect_on_loopback(self: socket.socket, address: Any) -> Any:
            inet = self.family in (socket.AF_INET, socket.AF_INET6)
            if inet and not str(address[0]).startswith(("127.", "::1", "localhost")):
                raise RuntimeError(f"a test may not connect to {address[0]}")
            return connect(self, address)

        return connect_on_loopback

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@pytest.fixture(autouse=True)
def rested(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that may have run jobs no thread of ours is left, and no connection of one."""
    yield
    if request.node.get_closest_marker("django_db"):
        from django_ais import registry
        from django_ais.runtime import runner

        for drivers in (registry.queues, registry.buses, registry.gateways):
            drivers.reset()
        runner.stop_services()


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own, to stop, kill and restart. Not run without one, except in CI: an error there."""
    try:
        with PostgresServer() as server:
            yield server
    except MissingServer as error:
        if in_ci():
            raise
        pytest.skip(f"NOT RUN: {error}")
