"""The profiles of the drivers in this package. Drivers are named, never imported."""

from __future__ import annotations

from django_ais.conformance.profile import BusProfile, QueueProfile
from django_ais.conformance.servers import NatsServer, PostgresServer, RabbitServer, RedisServer


class Memory(QueueProfile):
    """Threads of the process that dispatches."""

    driver = "memory"
    options = {"threads": 1}


class Database(QueueProfile):
    """The table is the queue."""

    driver = "database"
    rows_only = True


class DatabaseOnPostgres(Database):
    """The same, with rows passed over that others hold, and worker processes that are woken."""

    database = "postgres"
    requires = ("psycopg",)


class Celery(QueueProfile):
    """On Redis, with an app of our own."""

    driver = "celery"
    options = {"broker_url": "redis://127.0.0.1:{port}/0", "visibility_timeout": 4}
    servers = (RedisServer,)
    requires = ("celery", "kombu", "redis")


class CeleryOnRabbit(QueueProfile):
    """On RabbitMQ, with an app of our own."""

    driver = "celery"
    options = {"broker_url": "amqp://guest:guest@127.0.0.1:{port}//"}
    servers = (RabbitServer,)
    requires = ("celery", "kombu", "amqp")


class Dramatiq(QueueProfile):
    """On Redis, with a broker of our own."""

    driver = "dramatiq"
    options = {"url": "redis://127.0.0.1:{port}/0", "heartbeat_seconds": 3, "maintenance_chance": 1_000_000}
    servers = (RedisServer,)
    requires = ("dramatiq", "redis")


class DramatiqOnRabbit(QueueProfile):
    """On RabbitMQ, with a broker of our own."""

    driver = "dramatiq"
    options = {"url": "amqp://guest:guest@127.0.0.1:{port}//"}
    servers = (RabbitServer,)
    requires = ("dramatiq", "pika")


class Rq(QueueProfile):
    """Plain RQ."""

    driver = "rq"
    options = {"url": "redis://127.0.0.1:{port}/0"}
    servers = (RedisServer,)
    requires = ("rq", "redis")


class Nats(QueueProfile):
    """JetStream."""

    driver = "nats"
    options = {"url": "nats://127.0.0.1:{port}", "ack_wait_seconds": 3}
    servers = (NatsServer,)
    requires = ("nats-py",)


class DjangoTasks(QueueProfile):
    """On the backend of django-tasks-db, in its own worker processes."""

    driver = "django_tasks"
    options = {"poll_seconds": 0.1}
    settings = {"TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}}
    apps = ("django_tasks", "django_tasks_db")
    requires = ("django-tasks", "django-tasks-db")


class MemoryBus(BusProfile):
    """Within one process."""

    driver = "memory"


class DatabaseBus(BusProfile):
    """Each process looks at the numbers of the runs that it follows."""

    driver = "database"
    options = {"first_seconds": 0.02, "last_seconds": 0.2}


class RedisBus(BusProfile):
    """Pub/Sub."""

    driver = "redis"
    options = {"url": "redis://127.0.0.1:{port}/0"}
    servers = (RedisServer,)
    requires = ("redis",)


class NatsBus(BusProfile):
    """Core subjects."""

    driver = "nats"
    options = {"url": "nats://127.0.0.1:{port}"}
    servers = (NatsServer,)
    requires = ("nats-py",)


class PostgresBus(BusProfile):
    """LISTEN and NOTIFY."""

    driver = "postgres"
    options = {"url": "postgresql://postgres@127.0.0.1:{port}/postgres"}
    servers = (PostgresServer,)
    requires = ("psycopg",)


class ChannelsBus(BusProfile):
    """A layer of channels_redis that has no queue in Redis."""

    driver = "channels"
    servers = (RedisServer,)
    settings = {
        "CHANNEL_LAYERS": {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": ["redis://127.0.0.1:{port}/0"]},
            }
        }
    }
    requires = ("channels", "channels-redis", "redis")


class ChannelsBusOnLists(ChannelsBus):
    """The layer of channels_redis that has one."""

    settings = {
        "CHANNEL_LAYERS": {
            "default": {
                "BACKEND": "channels_redis.core.RedisChannelLayer",
                "CONFIG": {"hosts": ["redis://127.0.0.1:{port}/0"]},
            }
        }
    }
