"""Django settings of `ours`: those of the tests, a database of its own, connections that are kept."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import database

DATABASES = {"default": {**database("bench_queues"), "CONN_MAX_AGE": None}}
