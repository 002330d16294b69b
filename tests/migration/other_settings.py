"""A project with keys of another type: our tables must not change with it."""

from __future__ import annotations

from tests.settings import *  # noqa: F403 (settings are made that way)

DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
