"""A router that keeps the tables of django_ais in the database ``other`` and everything else out of it."""

from __future__ import annotations

from typing import Any

from django.db.models import Model


class OtherDatabase:
    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return "other" if model._meta.app_label == "django_ais" else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "other") == (app_label == "django_ais")
