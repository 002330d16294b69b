"""System checks: what `manage.py check` says of settings, each with its id and a way out, without a query."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks as django_checks
from django.db import connection, connections

from django_ais import checks, registry
from django_ais.backends.queue.memory import MemoryQueue
from django_ais.gateways import BaseGateway
from django_ais.strategies import BaseStrategy
from django_ais.workers import BaseWorker

EMBEDDED: dict[str, Any] = {
    "QUEUES": {"default": "memory"},
    "BUSES": {"default": "memory"},
    "GATEWAYS": {"default": "scripted"},
}


def found(settings: Any, **changed: Any) -> dict[str, Any]:
    """The messages about these settings by id."""
    settings.DJANGO_AIS = {**EMBEDDED, **changed}
    messages = list(checks.check_settings(None))
    assert len({message.id for message in messages}) == len(messages)
    return {str(message.id).removeprefix("django_ais."): message for message in messages}


def test_settings_that_work_say_nothing(settings):
    """Given embedded drivers, when checked, then there is nothing to say, and no query was made to know it."""
    with connection.execute_wrapper(refuse_queries):
        assert found(settings) == {}


def refuse_queries(*_: Any) -> Any:
    raise AssertionError("a check made a query")


def test_a_bus_that_nobody_has_says_what_to_set(settings):
    """Given a bus of a name that no driver has, when checked, then the bus says what is missing and what to set."""
    settings.DJANGO_AIS = {"QUEUES": {"default": "database"}, "BUSES": {"default": "reddis"}}

    bus, *_ = checks.check_settings(None)  # then come the workers that miss a gateway

    assert bus.id == "django_ais.E003"
    assert "Did you mean 'redis'?" in bus.msg
    assert "DJANGO_AIS['BUSES']" in str(bus.hint)


def test_the_defaults_are_checked_without_a_server(settings):
    """Given no QUEUES and no BUSES, when checked, then neither Celery nor Redis is missed: nothing connects."""
    settings.DJANGO_AIS = {"GATEWAYS": {"default": "scripted"}}

    assert list(checks.check_settings(None)) == []


def test_every_mistake_of_the_settings_is_an_error_of_its_own(settings):
    """Given two mistakes, when checked, then there are two E001, each with its sentence and the page."""
    settings.DJANGO_AIS = {"QUEUS": {}, "LEASE_SECONDS": 0}

    messages = list(checks.check_settings(None))

    assert [message.id for message in messages] == ["django_ais.E001"] * 2
    assert all("docs/reference/settings.md" in str(message.hint) for message in messages)


def test_an_option_that_a_driver_does_not_take_is_an_error(settings):
    """Given a wrong option of each kind of driver, when checked, then each alias is told."""
    wrong = {"default": {"BACKEND": "memory", "OPTIONS": {"size": 1}}}
    gateway = {"default": {"BACKEND": "scripted", "OPTIONS": {"size": 1}}}

    messages = found(settings, QUEUES=wrong, BUSES=wrong, GATEWAYS=gateway)

    assert set(messages) == {"E002", "E003", "E005"}
    assert all("'default'" in message.msg and "size" in message.msg for message in messages.values())
    assert all(message.hint for message in messages.values())


@pytest.mark.parametrize("key", ["TENANT_RESOLVER", "AUTHORIZER"])
def test_a_rule_that_cannot_be_called_is_an_error(settings, key):
    """Given a dotted path of nothing, or of what is no function, when checked, then both are told."""
    for path in ("shop.nowhere.rule", "django_ais.tenancy.ACTIONS", "no_path"):
        message = found(settings, **{key: path})["E006"]
        assert key in message.msg
        assert path in message.msg


class Asks(BaseStrategy):
    pass


class Own(BaseGateway):
    pass


NEEDS_ONE: dict[str, tuple[dict[str, Any], bool]] = {
    "a strategy and the settings' gateway": ({"strategy_class": Asks}, True),
    "a gateway of its own": ({"strategy_class": Asks, "gateway_class": Own}, False),
    "no strategy": ({}, False),
    "a run of its own": ({"strategy_class": Asks, "run": lambda self, job: 1}, False),
}


@pytest.mark.parametrize("case", NEEDS_ONE)
def test_a_missing_gateway_is_told_where_a_worker_needs_it(case, settings, monkeypatch):
    """Given no GATEWAYS, when a worker would use one, then an error shows the lines to add; else none."""
    attributes, needed = NEEDS_ONE[case]
    monkeypatch.setattr(registry, "_workers", {"asks": type("Worker", (BaseWorker,), attributes)})

    messages = found(settings, GATEWAYS={})

    assert ("E004" in messages) is needed
    assert not needed or "DJANGO_AIS['GATEWAYS'] =" in messages["E004"].msg


class Worried(MemoryQueue):
    def check(self) -> list[str]:
        return ["visibility_timeout is shorter than a lease; raise it to 3600"]


def test_a_driver_may_warn_of_its_own_settings(settings):
    """Given a driver with a sentence to say, when checked, then it is a warning."""
    messages = found(settings, QUEUES={"default": f"{__name__}.Worried"})

    assert messages["W001"].msg.startswith("visibility_timeout")
    assert messages["W001"].level == django_checks.WARNING


def test_celery_queue_beside_queues_is_told(settings):
    """Given both forms, when checked, then a warning says which one has no effect."""
    messages = found(settings, CELERY_QUEUE="agents")

    assert set(messages) == {"W002"}
    assert "CELERY_QUEUE has no effect" in messages["W002"].msg
    assert "OPTIONS" in str(messages["W002"].hint)


def test_event_channel_layer_without_its_bus_is_harmless(settings):
    """Given EVENT_CHANNEL_LAYER and a bus that is not `channels`, when checked, then there is nothing to say."""
    assert found(settings, EVENT_CHANNEL_LAYER="default") == {}


@pytest.mark.parametrize(
    ("queue", "bus", "warns"),
    [("database", "memory", True), ("database", "database", False), ("memory", "memory", False)],
)
def test_a_bus_that_reaches_one_process_beside_a_queue_that_has_many_is_told(queue, bus, warns, settings):
    """Given such a pair, when checked, then a warning says what it costs and what is quicker."""
    messages = found(settings, QUEUES={"default": queue}, BUSES={"default": bus})

    assert ("W003" in messages) is warns
    assert not warns or "BUSES" in str(messages["W003"].hint)


def test_checking_starts_nothing_and_leaves_no_driver_behind(settings):
    """Given settings, when checked, then no driver is kept: the next use makes its own."""
    registry.queues.reset()

    found(settings)

    assert registry.queues._instances == {}


def test_the_checks_run_with_djangos_own(settings):
    """Given a broken DJANGO_AIS, when Django runs its checks, then ours are among them."""
    settings.DJANGO_AIS = {"QUEUS": {}}

    assert "django_ais.E001" in [message.id for message in django_checks.run_checks(tags=["django_ais"])]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite")
@pytest.mark.parametrize(("mode", "warns"), [(None, True), ("DEFERRED", True), ("IMMEDIATE", False)])
def test_sqlite_that_cannot_wait_is_told(mode, warns, monkeypatch):
    """Given SQLite, when its transactions are deferred and Django has the option, then a warning shows the option."""
    monkeypatch.setattr(connections["default"], "transaction_mode", mode, raising=False)

    ids = [message.id for message in checks.check_database(None)]

    assert ids == (["django_ais.W004"] if warns else [])


@pytest.mark.one_database("postgres")
@pytest.mark.skipif(connection.vendor != "postgresql", reason="about PostgreSQL")
def test_postgresql_has_nothing_to_be_told():
    """Given PostgreSQL, when checked, then there is nothing to say."""
    assert list(checks.check_database(None)) == []
