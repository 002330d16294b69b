"""Django settings of `celery_`: its own database, results in it, connections that are kept."""

from __future__ import annotations

import os

from tests.settings import database

SECRET_KEY = "only for benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_celery_results"]
DATABASES = {"default": {**database("peer_celery"), "CONN_MAX_AGE": None}}
CELERY_BROKER_URL = os.environ["AIS_BENCH_REDIS"]
CELERY_RESULT_BACKEND = "django-db"
CELERY_DB_REUSE_MAX = 1_000_000
CELERY_TASK_DEFAULT_QUEUE = "peer.celery"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1  # as ours
