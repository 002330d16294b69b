"""Private brokers for a benchmark. Redis keeps nothing on disk; NATS syncs each message of a stream."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django_ais.conformance.servers import MissingServer, NatsServer, RedisServer


@contextmanager
def brokers() -> Iterator[dict[str, str]]:
    """Redis and NATS, in the environment of all that is measured: ``AIS_BENCH_REDIS`` is an address and
    ``AIS_BENCH_REDIS_PID`` a process id. Yields why those are missing that are, by their names.
    """
    kinds: dict[str, type[RedisServer] | type[NatsServer]] = {"redis": RedisServer, "nats": NatsServer}
    missing = {}
    with ExitStack() as stack:
        for name, kind in kinds.items():
            server = kind()
            try:
                stack.enter_context(server)
            except MissingServer as error:
                missing[name] = f"not run: {error}"
                continue
            os.environ[f"AIS_BENCH_{name.upper()}"] = server.url
            os.environ[f"AIS_BENCH_{name.upper()}_PID"] = str(server.pid)
            if kind is RedisServer:
                _forget_all(server.url)
        yield missing


def _forget_all(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        client.config_set("appendonly", "no")
