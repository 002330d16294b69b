"""The servers that the queue drivers' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_ais.conformance.servers import RedisServer
from tests.harness.private import private


@pytest.fixture(scope="module")
def one_redis() -> Iterator[RedisServer]:
    """A Redis for the tests of a module. Not run without one, except in CI: an error there."""
    with private(RedisServer) as server:
        yield server


@pytest.fixture
def redis_server(one_redis: RedisServer) -> RedisServer:
    """That Redis, empty."""
    import redis

    client = redis.Redis.from_url(one_redis.url)
    client.flushall()
    client.close()
    return one_redis
