"""The private brokers: started on a free port, killed, restarted with their data, wiped, and gone at the end."""

from __future__ import annotations

import os
import re
import socket

import pytest

from django_ais.conformance.servers import NatsServer, RabbitServer, RedisServer, Server
from tests.harness.private import private

pytestmark = pytest.mark.one_database("postgres")


def answers(server: Server) -> bool:
    with socket.socket() as trial:
        trial.settimeout(1)
        return trial.connect_ex(("127.0.0.1", server.port)) == 0


@pytest.fixture(params=[RedisServer, NatsServer, RabbitServer], ids=lambda kind: kind.name)
def server(request):
    with private(request.param) as server:
        yield server


def test_a_server_can_be_killed_restarted_and_wiped(server):
    first = server.pid
    assert answers(server)

    server.sigkill()
    assert not answers(server)
    server.start()
    assert answers(server)
    assert server.pid != first

    server.wipe()
    assert answers(server)


def test_a_server_tells_its_version_and_starts_nothing_for_it(server, tmp_path, monkeypatch):
    """Given a running server, when its version is asked, then it is a real one, and nothing is written where we are."""
    monkeypatch.chdir(tmp_path)

    assert re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{1,3}", server.version)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_server():
    with RedisServer() as server:
        pid, port, folder = server.pid, server.port, server._folder

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("127.0.0.1", port))
    assert not folder.exists()
