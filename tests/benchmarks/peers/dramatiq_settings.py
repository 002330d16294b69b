"""Django settings of `dramatiq_`: its own database, tasks as rows in it, connections that are kept."""

from __future__ import annotations

import os

from tests.settings import database

SECRET_KEY = "only for benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_dramatiq"]
DATABASES = {"default": {**database("peer_dramatiq"), "CONN_MAX_AGE": None}}
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": os.environ["AIS_BENCH_REDIS"], "namespace": "peer"},
    "MIDDLEWARE": [
        "dramatiq.middleware.AgeLimit",
        "dramatiq.middleware.TimeLimit",
        "dramatiq.middleware.Callbacks",
        "dramatiq.middleware.Retries",
        "django_dramatiq.middleware.AdminMiddleware",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
    ],
}
