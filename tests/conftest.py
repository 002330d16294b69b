"""What every test gets: settings, a database of its own, and no way out to the network.

`AIS_TEST_DB=postgres` starts one private PostgreSQL for the session, `AIS_TEST_QUEUE` and `AIS_TEST_BUS` the servers
that their drivers need, here at import, because Django's settings name their ports. pytest-django finds settings that
are set up already.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from django_ais.conformance.servers import MissingServer, NatsServer, PostgresServer, RedisServer
from tests.harness.private import private

SESSION = ExitStack()
UNIT = Path(__file__).parent / "unit"
Broker = type[NatsServer] | type[PostgresServer] | type[RedisServer]
BROKERS: dict[str, dict[str, Broker]] = {
    "QUEUE": {"celery": RedisServer, "dramatiq": RedisServer, "nats": NatsServer, "rq": RedisServer},
    "BUS": {"redis": RedisServer, "channels": RedisServer, "nats": NatsServer, "postgres": PostgresServer},
}
ADDRESSES = {"QUEUE": "AIS_TEST_BROKER_URL", "BUS": "AIS_TEST_BUS_URL"}


def start_session() -> None:
    """Start what the settings name, tell it through the environment (child processes read it too), set Django up."""
    if "AIS_TEST_DIR" not in os.environ:
        os.environ["AIS_TEST_DIR"] = SESSION.enter_context(tempfile.TemporaryDirectory(prefix="ais-test-"))
    try:
        start_servers()
    except MissingServer as error:
        raise pytest.UsageError(str(error)) from error
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()


def start_servers() -> None:
    """Start the database and the brokers that the environment names, unless it says where they are."""
    if os.environ.get("AIS_TEST_DB") == "postgres" and "AIS_TEST_PG_PORT" not in os.environ:
        os.environ["AIS_TEST_PG_PORT"] = str(SESSION.enter_context(PostgresServer()).port)
    for part, kinds in BROKERS.items():
        kind = kinds.get(os.environ.get(f"AIS_TEST_{part}", ""))
        if kind is not None and ADDRESSES[part] not in os.environ:
            broker = kind()
            SESSION.enter_context(broker)
            os.environ[ADDRESSES[part]] = broker.url


start_session()
signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))  # leave no server behind


def pytest_unconfigure() -> None:
    SESSION.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked `full` too: minutes, not seconds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is only for ``--full``: tests marked so, and those whose one database is another."""
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full") or not is_at_home(item)]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def is_at_home(item: pytest.Item) -> bool:
    """Whether a test runs on this database in every run. A unit test that has no database runs once.

    With ``AIS_TEST_ALONE`` no other run will take what this one leaves out: so does an environment of tox.
    """
    if os.environ.get("AIS_TEST_ALONE"):
        return True
    marker = item.get_closest_marker("one_database")
    if marker is None and (not item.path.is_relative_to(UNIT) or item.get_closest_marker("django_db")):
        return True
    return os.environ.get("AIS_TEST_DB", "sqlite") in (marker.args if marker else ("sqlite",))


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
        from django_ais.runtime.host import host

        for drivers in (registry.queues, registry.buses, registry.gateways):
            drivers.reset()
        host.stop()


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own, to stop, kill and restart. Not run without one, except in CI: an error there."""
    with private(PostgresServer) as server:
        yield server
