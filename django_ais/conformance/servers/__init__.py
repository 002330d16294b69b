"""Private servers for tests: real ones, on free ports of 127.0.0.1, to stop, kill, freeze, wipe and restart.

Never the system's running servers, and no package manager. A program comes from the environment variable that names
it, else from a wheel (its files alone, its code is not imported), else from PATH, if it is new enough.
"""

from django_ais.conformance.servers.nats import NatsServer
from django_ais.conformance.servers.postgres import PostgresServer, postgres_folder
from django_ais.conformance.servers.processes import MissingServer, Server, free_port, in_ci, open_folder
from django_ais.conformance.servers.rabbitmq import RabbitServer
from django_ais.conformance.servers.redis import RedisServer

__all__ = [
    "MissingServer",
    "NatsServer",
    "PostgresServer",
    "RabbitServer",
    "RedisServer",
    "Server",
    "free_port",
    "in_ci",
    "open_folder",
    "postgres_folder",
]
