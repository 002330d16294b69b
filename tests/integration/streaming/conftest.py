"""What the streaming tests share: the site's settings, people, runs that say what a test tells them to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.core.handlers.asgi import get_script_prefix  # noqa: F401 (Django's ASGI parts load before a test does)

from tests.app.behaviour_workers import settings_of
from tests.integration.streaming import site
from tests.integration.streaming.servers import UvicornServer


@pytest.fixture
def project(settings: Any) -> Any:
    """The site's settings in this process; jobs run inside of their dispatch."""
    for name, value in site.SETTINGS.items():
        setattr(settings, name, value)
    settings.DJANGO_AIS = settings_of()
    return settings


def person(name: str, **fields: Any) -> Any:
    """A user who may do what owners may."""
    return get_user_model()._default_manager.create_user(username=name, password=None, **fields)


def cookie_of(user: Any) -> str:
    """What the browser of a logged-in user sends."""
    session = import_module(site.SETTINGS["SESSION_ENGINE"]).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"sessionid={session.session_key}"


@pytest.fixture
def server(project: Any, tmp_path: Path, transactional_db: Any) -> Iterator[UvicornServer]:
    with UvicornServer(tmp_path, AIS_TEST_BUS="database") as started:
        yield started
