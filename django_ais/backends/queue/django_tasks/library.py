"""Which of the two libraries is the Tasks framework here. Their classes are not related."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from django_ais.exceptions import ConfigurationError


def tasks_library() -> Any:
    """The module with ``task`` and ``task_backends``. Raises `ConfigurationError` where there is none."""
    for name in ("django.tasks", "django_tasks"):
        if find_spec(name) is not None:
            return importlib.import_module(name)
    raise ConfigurationError(
        "The queue driver 'django_tasks' needs Django 6, or the package django-tasks before: "
        "pip install 'django-ais[django-tasks]'"
    )
