"""How many rows there are: a refusal that wrote something has changed a number here."""

from __future__ import annotations

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import router


def rows() -> dict[str, int]:
    """The rows of every table of django_ais, the tests' application and the users."""
    models = [*apps.get_app_config("django_ais").get_models(), *apps.get_app_config("app").get_models()]
    return {
        model._meta.label: model._default_manager.using(router.db_for_write(model)).count()
        for model in [*models, get_user_model()]
    }
