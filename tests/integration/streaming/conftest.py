"""What the streaming tests share: the site's settings, people, runs that say what a test tells them to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.db import connections
from django.utils import timezone

from django_ais import jobs
from tests.app.behaviour_workers import settings_of
from tests.integration.streaming import site
from tests.integration.streaming.sockets import served_sockets

T = TypeVar("T")


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


@pytest.fixture
def anna() -> Any:
    return person("anna")


@pytest.fixture
def cookie(anna: Any) -> str:
    return cookie_of(anna)


def waiting_run(user: Any, **more: Any) -> Any:
    """A run that will say nothing for a day."""
    return jobs.dispatch("echo", {}, user=user, run_after=timezone.now() + timedelta(days=1), **more)


@pytest.fixture
def waiting(anna: Any) -> Any:
    """A run of Anna's that will say nothing for a day."""
    return waiting_run(anna)


@pytest.fixture(scope="module")
def socket_port(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[int]:
    """Of a server with WebSockets that the tests of a module share."""
    with served_sockets(tmp_path_factory.mktemp("site")) as server:
        yield server.port


def cookie_of(user: Any) -> str:
    """What the browser of a logged-in user sends."""
    session = import_module(site.SETTINGS["SESSION_ENGINE"]).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"sessionid={session.session_key}"


async def in_a_thread(verb: Callable[..., T], *args: Any) -> T:
    """Call something that uses the database, from async code, and close its connection."""

    def call() -> T:
        try:
            return verb(*args)
        finally:
            connections.close_all()

    return await asyncio.to_thread(call)


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Iterator[int]:
    """Count the calls of a function from now on; the iterator's next value is how many there were."""
    function, numbers = getattr(module, name), itertools.count()

    def counting(*args: Any, **kwargs: Any) -> Any:
        next(numbers)
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, counting)
    return numbers
