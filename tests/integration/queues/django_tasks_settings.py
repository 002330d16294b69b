"""The settings of the tests, with the package django-tasks-db: what its worker processes run with, and the site."""

from __future__ import annotations

from tests.integration.commands.settings import *  # noqa: F403
from tests.integration.commands.settings import INSTALLED_APPS

INSTALLED_APPS = list(dict.fromkeys([*INSTALLED_APPS, "django_tasks", "django_tasks_db"]))  # once each
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default", "agents"]}}
