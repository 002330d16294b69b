"""Which Celery app carries the messages: the one that the options name, the project's, or one of ours."""

from __future__ import annotations

import os
from functools import cache
from importlib import metadata
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from django_ais.exceptions import ConfigurationError

OWN = "django_ais"
DEFAULT_BROKER = "redis://localhost:6379/0"
FAMILIES = {
    "redis": ("redis", "rediss", "sentinel"),
    "amqp": ("amqp", "amqps", "pyamqp"),
}


class CeleryOptions(BaseModel):
    """Where messages go, and how worker processes run jobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: str | None = Field(
        default=None, min_length=1, description="The broker's queue name, verbatim; `ais.<alias>` if not given."
    )
    app: str | None = Field(
        default=None, description="Dotted path of the project's Celery app: `proj.celery:app` or `proj.celery.app`."
    )
    broker_url: str | None = Field(default=None, description="The broker, for an app of our own.")
    visibility_timeout: int = Field(
        default=3600,
        gt=0,
        description="Redis, for an app of our own: after how many seconds it delivers again what was not acknowledged.",
    )
    max_priority: int | None = Field(
        default=None,
        ge=1,
        le=255,
        description="RabbitMQ: declare the queue with this `x-max-priority`. Without it RabbitMQ has no priorities.",
    )
    pool: Literal["prefork", "threads", "solo"] = Field(
        default="prefork", description="How a worker process that `ais_worker` starts runs jobs side by side."
    )

    @field_validator("broker_url")
    @classmethod
    def _need_scheme(cls, url: str | None) -> str | None:
        if url is not None and "://" not in url:
            raise ValueError("needs a scheme, as in redis://localhost:6379/0 or amqp://localhost//")
        return url


def find_app(options: CeleryOptions, queue: str) -> Any:
    """The Celery app. Raises `ConfigurationError` if the options name one that cannot be imported."""
    if options.app is not None:
        return _named_app(options.app)
    if options.broker_url is None and (found := _project_app()) is not None:
        return found
    theirs = None if options.broker_url else _project_broker()
    url = options.broker_url or theirs or DEFAULT_BROKER
    return _own_app(url, queue, options.visibility_timeout, options.max_priority, as_theirs=theirs is not None)


def _named_app(path: str) -> Any:
    from celery import Celery
    from celery.app.utils import find_app as load_app

    try:
        app = load_app(path)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"The Celery app {path!r} cannot be imported: {error}.") from error
    if not isinstance(app, Celery):
        raise ConfigurationError(f"{path!r} is no Celery app. Name it as in 'proj.celery:app'.")
    return app


def _project_app() -> Any:
    """The app that the project has made in this process, if it has a broker: one without publishes to nowhere."""
    from celery import _state

    default = _state.default_app
    apps = [*([default] if default is not None else []), *sorted(_state._get_active_apps(), key=_main_of)]
    return next((app for app in apps if app.main != OWN and app.conf.broker_write_url), None)


def _main_of(app: Any) -> str:
    return str(app.main)


def _project_broker() -> str | None:
    """The broker that the project's settings or the environment give to Celery."""
    from django.conf import settings

    found = os.environ.get("CELERY_BROKER_URL") or getattr(settings, "CELERY_BROKER_URL", None)
    return str(found) if found else None


def known_broker(options: CeleryOptions) -> str | None:
    """The broker's URL as far as it can be told without importing the project's app; None if it cannot."""
    if options.broker_url is not None:
        return options.broker_url
    return _project_broker() or (None if options.app else DEFAULT_BROKER)


def family(url: str | None) -> str:
    """``redis``, ``amqp``, or the URL's scheme."""
    scheme = (url or "").partition(":")[0].partition("+")[0]
    return next((name for name, schemes in FAMILIES.items() if scheme in schemes), scheme)


def is_exposed(url: str, *, uses_tls: bool = False) -> bool:
    """Whether a broker is beyond this machine and wants no password, or speaks without TLS."""
    parts = urlsplit(url.split(";")[0])
    host = parts.hostname or ""
    if not host or host in ("localhost", "::1") or host.startswith("127."):
        return False
    return not parts.password or not (uses_tls or parts.scheme in ("rediss", "amqps"))


@cache
def _own_app(url: str, queue: str, visibility_timeout: int, max_priority: int | None, *, as_theirs: bool) -> Any:
    """An app of our own: JSON alone, no results, one queue. Not made the process's current one.

    ``as_theirs``: it meets an app of the project's at the broker, so it takes over the project's settings.
    """
    from celery import Celery

    app = Celery(OWN, broker=url, set_as_current=False, fixups=[])
    if as_theirs:
        app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=queue,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    if family(url) == "redis" and not as_theirs:
        app.conf.broker_transport_options = {
            "visibility_timeout": visibility_timeout,
            "unacked_restore_interval": looks_every(visibility_timeout),
            "unacked_restore_throttle": 1,
            "socket_keepalive": True,
        }
    if max_priority is not None and family(url) == "amqp":
        app.conf.task_queues = [_with_priorities(queue, max_priority)]
    return app


def looks_every(visibility_timeout: int) -> int:
    """How often, in seconds, an app of our own looks on Redis for what was not acknowledged.

    kombu's own default comes to 100 seconds, ``unacked_restore_interval`` times ``unacked_restore_throttle``; before
    5.7 it knows neither option and looks every tenth time of ten seconds.
    """
    if kombu_version() < (5, 7):
        return 100
    return max(1, min(10, visibility_timeout // 4))


def kombu_version() -> tuple[int, ...]:
    """Of the installed kombu, without an import of it; nothing where there is none."""
    try:
        release = metadata.version("kombu").split(".")[:2]
    except metadata.PackageNotFoundError:
        return ()
    return tuple(int(part) for part in release if part.isdecimal())


def declare(app: Any, queue: str, max_priority: int | None) -> None:
    """Let a project's app know the queue with its priorities, unless it has an opinion of its own about it."""
    if max_priority is not None and family(app.conf.broker_write_url) == "amqp" and queue not in app.amqp.queues:
        app.amqp.queues.add(_with_priorities(queue, max_priority))


def _with_priorities(queue: str, most: int) -> Any:
    from kombu.entity import Exchange, Queue

    untyped: Any = Queue
    exchange: Any = Exchange
    return untyped(queue, exchange(queue), routing_key=queue, queue_arguments={"x-max-priority": most})
