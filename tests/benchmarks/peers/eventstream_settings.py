"""Django settings of `eventstream`: its own database, no middleware, connections that are kept."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from tests.settings import database

SECRET_KEY = "only for benchmarks"
USE_TZ = True
ALLOWED_HOSTS = ["127.0.0.1"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.benchmarks.peers.eventstream"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_eventstream"]
DATABASES = {"default": {**database("peer_eventstream"), "CONN_MAX_AGE": None}}
if os.environ.get("AIS_BENCH_STORAGE") == "1":
    EVENTSTREAM_STORAGE_CLASS = "django_eventstream.storage.DjangoModelStorage"
if url := os.environ.get("AIS_BENCH_EVENTSTREAM_REDIS"):
    EVENTSTREAM_REDIS = {"host": "127.0.0.1", "port": urlsplit(url).port, "db": 0}
