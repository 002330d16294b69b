"""System checks: what ``manage.py check`` says about the settings. No network, no queries.

Each id is listed in ``docs/errors.md`` and never reused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections
from django.utils.module_loading import import_string

from django_ais import conf, registry
from django_ais.exceptions import AisError, ConfigurationError
from django_ais.runtime import database
from django_ais.workers import BaseWorker


@register("django_ais")
def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """Settings that do not parse; drivers that cannot be built; gateways that are missing."""
    if found := conf.problems(getattr(settings, "DJANGO_AIS", {})):
        return [Error(problem, hint=f"See {conf.DOCS}.", id="django_ais.E001") for problem in found]
    return [*_drivers(), *_gateways(), *_rules(), *_both_ways(), *_embedded()]


def _drivers() -> Iterable[CheckMessage]:
    current = conf.current()
    for key, drivers, aliases, number in (
        ("QUEUES", registry.queues, current.queues, "E002"),
        ("BUSES", registry.buses, current.buses, "E003"),
    ):
        embedded = "'database' or 'memory'"
        hint = f"Set DJANGO_AIS[{key!r}], for example to {{'default': 'database'}}; {embedded} need nothing to run."
        yield from _build(drivers.build, aliases, hint=hint, id=f"django_ais.{number}")


def _gateways() -> Iterable[CheckMessage]:
    current = conf.current()
    if not current.gateways and any(_uses_default_gateway(worker) for worker in registry.workers().values()):
        try:
            current.gateway("default")
        except ConfigurationError as error:
            yield Error(str(error), id="django_ais.E004")
    hint = "See docs/reference/settings.md for the gateways there are."
    yield from _build(registry.gateways.build, current.gateways, hint=hint, id="django_ais.E005")


def _uses_default_gateway(worker: type) -> bool:
    from django_ais.gateways import BaseGateway

    return (
        issubclass(worker, BaseWorker)
        and "run" not in vars(worker)
        and worker.strategy_class is not None
        and worker.gateway_class is BaseGateway
    )


def _build(build: Callable[[str], Any], aliases: Iterable[str], *, hint: str, id: str) -> Iterable[CheckMessage]:
    for alias in aliases:
        try:
            sentences = build(alias).check()
        except AisError as error:
            yield Error(str(error), hint=hint, id=id)
        else:
            for sentence in sentences:
                yield Warning(sentence, id="django_ais.W001")


def _rules() -> Iterable[CheckMessage]:
    current = conf.current()
    for key, path in (("TENANT_RESOLVER", current.tenant_resolver), ("AUTHORIZER", current.authorizer)):
        try:
            problem = "" if callable(import_string(path)) else "is not callable"
        except ImportError as error:
            problem = f"cannot be imported: {error}"
        if problem:
            hint = "Give the dotted path of a function, such as 'shop.access.tenant_of'."
            yield Error(f"DJANGO_AIS[{key!r}] = {path!r} {problem}.", hint=hint, id="django_ais.E006")


def _both_ways() -> Iterable[CheckMessage]:
    current = conf.current()
    if current.celery_queue is not None and "queues" in current.model_fields_set:
        yield Warning(
            "DJANGO_AIS has both QUEUES and CELERY_QUEUE; CELERY_QUEUE has no effect.",
            hint="Keep QUEUES and put the broker's queue name into its OPTIONS, or keep CELERY_QUEUE alone.",
            id="django_ais.W002",
        )


def _embedded() -> Iterable[CheckMessage]:
    current = conf.current()
    memory = [alias for alias, bus in current.buses.items() if bus.backend == "memory"]
    outside = [alias for alias, queue in current.queues.items() if queue.backend not in ("memory", "immediate")]
    if memory and outside:
        yield Warning(
            f"Bus '{memory[0]}' reaches one process only, and queue '{outside[0]}' runs jobs in others.",
            hint="Streams still work, but follow the rows with a delay; BUSES = {'default': 'database'} is quicker.",
            id="django_ais.W003",
        )


@register(Tags.database, "django_ais")
def check_database(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterable[CheckMessage]:
    """SQLite without immediate transactions, where Django has the option."""
    current = connections[database.database()]
    mode = getattr(current, "transaction_mode", "IMMEDIATE")
    if current.vendor == "sqlite" and (mode or "DEFERRED").upper() == "DEFERRED":
        return [
            Warning(
                "SQLite begins transactions that cannot wait: one that reads before it writes fails if another wrote.",
                hint='Add OPTIONS = {"transaction_mode": "IMMEDIATE"} to this database (Django 5.1 and later).',
                id="django_ais.W004",
            )
        ]
    return []
