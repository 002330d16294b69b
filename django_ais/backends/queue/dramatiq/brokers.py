"""Dramatiq's brokers: the project's own, or one made for us; and what differs between Redis and RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from weakref import WeakSet

import dramatiq.broker

NAMESPACE = "ais"  # before the keys of a Redis broker of our own
SOCKET_SECONDS = 5  # for one answer of a broker of our own
AMQP_DEFAULTS = {
    "connection_attempts": "1",
    "socket_timeout": str(SOCKET_SECONDS),
    "stack_timeout": str(SOCKET_SECONDS),
    "blocked_connection_timeout": str(SOCKET_SECONDS),
    "heartbeat": "30",
}

_own: WeakSet[Any] = WeakSet()


def project_broker() -> Any:
    """The broker that the project, or django-dramatiq for it, has set in this process; None if nobody did.

    Not ``dramatiq.get_broker``, which would make one on the spot and set it for everybody.
    """
    found = dramatiq.broker.global_broker
    return None if found is None or is_own(found) else found


def own_broker(url: str, *, heartbeat_seconds: float, maintenance_chance: int) -> Any:
    """A broker for this queue alone, without middleware. No I/O. Raises ImportError if its client is not installed."""
    broker = rabbitmq(url) if url.startswith("amqp") else redis_broker(url, heartbeat_seconds, maintenance_chance)
    _own.add(broker)
    return broker


def is_own(broker: Any) -> bool:
    """Whether we made it."""
    return broker in _own


def rabbitmq(url: str) -> Any:
    """A RabbitMQ broker that waits for confirms, and for nothing else long."""
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    return RabbitmqBroker(url=[with_defaults(part) for part in url.split(";")], confirm_delivery=True, middleware=[])


def with_defaults(url: str) -> str:
    """An ``amqp://`` address for pika, with those of `AMQP_DEFAULTS` that it does not set itself.

    ``//`` at its end means the virtual host ``/``, as it does for Celery; pika would look for one without a name.
    """
    parts = urlsplit(url)
    path = "" if parts.path == "//" else parts.path
    query = urlencode({**AMQP_DEFAULTS, **dict(parse_qsl(parts.query))})
    return urlunsplit(parts._replace(path=path, query=query))


def redis_broker(url: str, heartbeat_seconds: float, maintenance_chance: int) -> Any:
    """A Redis broker whose client neither waits long nor tries again."""
    import redis
    from dramatiq.brokers.redis import RedisBroker
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(
        url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS, retry=Retry(NoBackoff(), 0)
    )
    return RedisBroker(  # type: ignore[no-untyped-call]
        client=client,
        middleware=[],
        namespace=NAMESPACE,
        heartbeat_timeout=int(heartbeat_seconds * 1000),
        maintenance_chance=maintenance_chance,
    )


def kind_of(broker: Any) -> Literal["redis", "rabbitmq", ""]:
    """What it runs on; nothing for others."""
    modules = {kind.__module__ for kind in type(broker).__mro__}
    if "dramatiq.brokers.redis" in modules:
        return "redis"
    return "rabbitmq" if "dramatiq.brokers.rabbitmq" in modules else ""


def depth(broker: Any, queue: str) -> int | None:
    """How many messages nobody has fetched yet, those that are held back included."""
    if kind_of(broker) == "redis":
        key = f"{broker.namespace}:{queue}"
        return int(broker.client.llen(key)) + int(broker.client.llen(f"{key}.DQ"))
    if kind_of(broker) == "rabbitmq":
        return int(sum(_on_a_connection(broker, lambda: broker.get_queue_message_counts(queue))[:2]))
    return None


def flush(broker: Any, queue: str) -> None:
    """Drop what waits."""
    if kind_of(broker) == "rabbitmq":
        _on_a_connection(broker, lambda: broker.flush(queue))
    else:
        broker.flush(queue)


def _on_a_connection(broker: Any, ask: Callable[[], Any]) -> Any:
    """Ask RabbitMQ something that may be asked twice: anew if this thread's connection was lost since it was used."""
    from pika.exceptions import AMQPConnectionError

    try:
        return ask()
    except AMQPConnectionError:
        del broker.connection
        return ask()


def ping(broker: Any) -> None:
    """Raise what the client library raises if it cannot be reached. RabbitMQ: opens this thread's connection anew."""
    if kind_of(broker) == "redis":
        broker.client.ping()
    elif kind_of(broker) == "rabbitmq":
        del broker.connection
        broker.channel  # noqa: B018 - reading it connects


def keep_alive(broker: Any) -> None:
    """Answer RabbitMQ's heartbeats on this thread's connection, if it has one."""
    if kind_of(broker) == "rabbitmq" and getattr(broker.state, "connection", None) is not None:
        broker.connection.process_data_events(0)


def disconnect(broker: Any) -> None:
    """Close this thread's connections."""
    if kind_of(broker) == "redis" and is_own(broker):
        broker.client.close()
    elif kind_of(broker) == "rabbitmq":
        del broker.connection


def faults(broker: Any, alias: str) -> list[str]:
    """What a running Redis says of itself that loses messages, in sentences."""
    if kind_of(broker) != "redis":
        return []
    import redis

    found, told = [], broker.client.info()
    policy = told.get("maxmemory_policy", "noeviction")
    if told.get("maxmemory") and policy != "noeviction":
        found.append(
            f"Redis of queue '{alias}' drops keys when its memory is full (maxmemory-policy {policy}), messages too: "
            "set noeviction."
        )
    save = "unknown"
    with suppress(redis.ResponseError):  # a hosted Redis hides its configuration
        save = broker.client.config_get("save").get("save", "")
    if not told.get("aof_enabled") and not save:
        found.append(
            f"Redis of queue '{alias}' keeps nothing on disk: messages are gone after a restart, and jobs then wait "
            "for the sweep. Set appendonly yes."
        )
    return found


def is_open(url: str) -> bool:
    """Whether an address leads to another machine, without TLS and without a password, or with RabbitMQ's ``guest``."""
    parts = urlsplit(url)
    if parts.scheme in ("unix", "rediss", "amqps") or parts.password not in (None, "", "guest"):
        return False
    return parts.hostname not in (None, "localhost", "::1") and not str(parts.hostname).startswith("127.")
