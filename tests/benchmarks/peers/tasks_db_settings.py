"""Django settings of `tasks_db`: its own database, connections that are kept."""

from __future__ import annotations

from tests.settings import database

SECRET_KEY = "only for benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_tasks", "django_tasks_db"]
DATABASES = {"default": {**database("peer_tasks_db"), "CONN_MAX_AGE": None}}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
