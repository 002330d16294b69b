"""`DJANGO_AIS`: read once into typed values, wrong ones told in sentences, the short keys folded in."""

from __future__ import annotations

from typing import Any

import pytest

from django_ais import conf
from django_ais.exceptions import ConfigurationError
from tests.harness.wording import words

EMBEDDED = {"QUEUES": {"default": "memory"}, "BUSES": {"default": "memory"}}


def test_nothing_set_means_celery_and_redis():
    """Given an empty dict, when read, then the queue is Celery's, the bus Redis's, and there is no gateway."""
    current = conf.Settings()

    assert current.queue("default").backend == "celery"
    assert current.bus("default").backend == "redis"
    assert current.gateways == {}


def test_a_project_that_says_nothing_gets_the_defaults(settings, request):
    """Given no DJANGO_AIS at all, when read, then it is as an empty one."""
    del settings.DJANGO_AIS
    conf.current.cache_clear()  # a setting that was never there does not change either
    request.addfinalizer(conf.current.cache_clear)

    assert conf.current() == conf.Settings()
    assert conf.problems({}) == []


def test_a_bare_name_is_a_driver_without_options():
    """Given a name where a dict may stand, when read, then it is the BACKEND."""
    short = conf.Settings(QUEUES={"default": "database"})
    long = conf.Settings(QUEUES={"default": {"BACKEND": "database", "OPTIONS": {}}})

    assert short == long


def test_values_are_read_once_until_they_change(settings):
    """Given settings that were read, when read again, then it is the same object; when overridden, the new values."""
    before = conf.current()
    assert conf.current() is before

    settings.DJANGO_AIS = {**EMBEDDED, "LEASE_SECONDS": 7}

    assert conf.current().lease_seconds == 7


def test_another_setting_that_changes_leaves_them_alone(settings):
    """Given settings that were read, when a setting that is not ours changes, then they are not read again."""
    before = conf.current()

    settings.SITE_NAME = "shop"

    assert conf.current() is before


def test_values_cannot_be_changed_in_place():
    """Given settings, when somebody assigns to them, then it is refused."""
    with pytest.raises(ValueError, match="frozen"):
        conf.Settings().lease_seconds = 1  # type: ignore[misc]


# -- the short keys ----------------------------------------------------------------------------------------------------


def test_the_short_keys_alone_are_accepted():
    """Given the two keys of the first example, when read, then there is nothing to complain about."""
    assert conf.problems({"CELERY_QUEUE": "default", "EVENT_CHANNEL_LAYER": "default"}) == []


def test_celery_queue_becomes_an_option_of_the_default_queue():
    """Given CELERY_QUEUE alone, when the default queue is asked for, then the broker's queue has that name."""
    current = conf.Settings(CELERY_QUEUE="agents")

    assert current.queue("default").model_dump() == {"backend": "celery", "options": {"queue": "agents"}}


def test_where_queues_are_given_celery_queue_has_no_effect():
    """Given both, when the default queue is asked for, then it is as QUEUES says."""
    current = conf.Settings(CELERY_QUEUE="agents", QUEUES={"default": "memory", "bulk": "database"})

    assert current.queue("default").options == {}
    assert current.queue("bulk").backend == "database"


@pytest.mark.parametrize(
    ("bus", "options"),
    [
        ("channels", {"layer": "events"}),
        ({"BACKEND": "channels", "OPTIONS": {"layer": "own"}}, {"layer": "own"}),
        ({"BACKEND": "channels", "OPTIONS": {"prefix": "a"}}, {"prefix": "a", "layer": "events"}),
        ("memory", {}),
    ],
)
def test_event_channel_layer_is_for_the_channels_bus_alone(bus, options):
    """Given EVENT_CHANNEL_LAYER, when a bus is asked for, then a `channels` bus without a layer gets it, others not."""
    current = conf.Settings(EVENT_CHANNEL_LAYER="events", BUSES={"default": bus})

    assert current.bus("default").options == options


# -- aliases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "key"), [("queue", "QUEUES"), ("bus", "BUSES"), ("gateway", "GATEWAYS")])
def test_an_unknown_alias_is_refused_with_the_nearest_one(kind, key):
    """Given aliases, when another is asked for, then the error names the setting, the known ones and the nearest."""
    current = conf.Settings(
        **{name: {"default": "memory", "bulk": "memory"} for name in ("QUEUES", "BUSES", "GATEWAYS")}
    )

    with pytest.raises(ConfigurationError, match=words(key, "'bluk'", "Known: bulk, default", "Did you mean 'bulk'?")):
        getattr(current, kind)("bluk")


def test_no_gateway_at_all_shows_the_lines_to_add():
    """Given no GATEWAYS, when one is asked for, then the error shows what to write."""
    with pytest.raises(ConfigurationError, match=words("No gateway", "DJANGO_AIS['GATEWAYS'] = {'default'")):
        conf.Settings().gateway("default")


# -- mistakes ----------------------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "no dict": (None, ("DJANGO_AIS must be a dict", "NoneType")),
    "keys that are no text": ({1: 2}, ("DJANGO_AIS", "strings")),
    "an unknown setting": ({"LEASE_SECOND": 5}, ("['LEASE_SECOND']", "Did you mean 'LEASE_SECONDS'?", "Known: QUEUES")),
    "lower case": ({"queues": {}}, ("['queues'] is not a setting", "Did you mean 'QUEUES'?")),
    "an unknown key of an alias": (
        {"QUEUES": {"default": {"BACKEND": "memory", "OPTION": {}}}},
        ("['QUEUES']['default']['OPTION']", "Did you mean 'OPTIONS'?"),
    ),
    "no backend": ({"BUSES": {"default": {"OPTIONS": {}}}}, ("['BUSES']['default']['BACKEND']", "required")),
    "a backend that is no text": ({"GATEWAYS": {"a": {"BACKEND": 5}}}, ("['GATEWAYS']['a']['BACKEND']", "string")),
    "no default queue": ({"QUEUES": {"bulk": "memory"}}, ("['QUEUES']: needs an alias named 'default'",)),
    "no default bus": ({"BUSES": {}}, ("['BUSES']: needs an alias named 'default'",)),
    "aliases that are no dict": ({"QUEUES": "memory"}, ("['QUEUES']", "dictionary")),
    "zero": ({"LEASE_SECONDS": 0}, ("['LEASE_SECONDS']", "greater than 0")),
    "no number": ({"SWEEP_SECONDS": "often"}, ("['SWEEP_SECONDS']", "number")),
    "infinity": ({"LEASE_SECONDS": float("inf")}, ("['LEASE_SECONDS']", "finite")),
    "half a time": ({"MAX_DELIVERIES": 1.5}, ("['MAX_DELIVERIES']", "integer")),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_in_a_sentence(case):
    """Given such a value, when looked at, then one sentence names the place and the mend."""
    raw, parts = MISTAKES[case]

    (sentence,) = conf.problems(raw)

    assert [part for part in parts if part not in sentence] == [], sentence


def test_all_mistakes_are_told_at_once(settings):
    """Given three mistakes, when the settings are used, then the error tells of all of them."""
    settings.DJANGO_AIS = {"QUEUS": {}, "LEASE_SECONDS": -1, "BUSES": {"default": {}}}

    with pytest.raises(ConfigurationError) as caught:
        conf.current()

    for word in ("'QUEUS'", "'QUEUES'?", "['LEASE_SECONDS']", "['BUSES']['default']['BACKEND']"):
        assert word in str(caught.value)
