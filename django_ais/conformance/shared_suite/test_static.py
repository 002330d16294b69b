"""What any driver's class says of itself. Nothing is started."""

from __future__ import annotations

import importlib
import inspect
from datetime import timedelta

import pytest

from django_ais.conformance.manifest import requirement
from django_ais.conformance.subject import Subject
from django_ais.exceptions import ConfigurationError

PREFIXES = ("supports_", "is_", "redelivers_", "isolates_", "confirms_", "crosses_", "carries_", "detects_")


def flags(subject: Subject) -> list[str]:
    """The names of the contract's flags."""
    return [name for name, value in vars(subject.profile.base).items() if isinstance(value, bool)]


@requirement("Q-STATIC-002", "B-STATIC-002")
def test_flags_are_booleans_and_limits_are_numbers(subject: Subject) -> None:
    """Given the class, then every flag is True or False, limits are numbers, and no flag has a name of its own."""
    driver, base = subject.driver, subject.profile.base
    odd = [name for name in flags(subject) if not isinstance(getattr(driver, name), bool | property)]
    own = {
        name for kind in driver.__mro__ if issubclass(kind, base)
        for name, value in vars(kind).items() if name.startswith(PREFIXES) and isinstance(value, bool)
    }  # fmt: skip

    assert odd == [], f"no booleans: {odd}"
    assert own <= set(flags(subject)), f"flags that the contract does not know: {sorted(own - set(flags(subject)))}"
    for name in (*subject.profile.limits, "redelivery_delay"):
        value = getattr(driver, name, None)
        assert value is None or isinstance(value, int | float | timedelta | property), f"{name} is {value!r}"
        assert not isinstance(value, int) or value >= 1 or name == "redelivery_delay", f"{name} is {value!r}"


@requirement("Q-STATIC-003", "B-STATIC-003")
def test_a_flag_stands_beside_its_question(subject: Subject) -> None:
    """Given the source, then each flag that the class sets has a comment with a question mark in its line."""
    try:
        lines = inspect.getsource(subject.driver).splitlines()
    except (OSError, TypeError):
        pytest.fail("the source of the class cannot be read")
    set_here = [line for line in lines if line.strip().startswith(tuple(f"{name}:" for name in flags(subject)))]
    set_here += [line for line in lines if line.strip().startswith(tuple(f"{name} =" for name in flags(subject)))]

    assert [line.strip() for line in set_here if "?" not in line.partition("#")[2]] == []


@requirement("Q-STATIC-004", "B-STATIC-004")
def test_an_unknown_option_is_refused_by_name(subject: Subject) -> None:
    """Given an option that nobody knows, when it is built, then ConfigurationError names the alias and the option."""
    with pytest.raises(ConfigurationError) as caught:
        subject.build(no_such_option=1)

    assert "default" in str(caught.value)
    assert "no_such_option" in str(caught.value)


@requirement("Q-STATIC-005", "B-STATIC-005")
def test_building_it_does_nothing(subject: Subject) -> None:
    """Given a fresh process, when it is built, then no file, socket, process, thread or client library is touched."""
    assert subject.building == {"events": [], "modules": [], "threads": []}


@requirement("Q-STATIC-008", "B-STATIC-006")
def test_it_says_in_prose_what_it_is(subject: Subject) -> None:
    """Given the class, then it and its module have a docstring."""
    module = importlib.import_module(subject.driver.__module__)

    assert inspect.getdoc(module), f"{module.__name__} has no docstring"
    assert vars(subject.driver).get("__doc__"), f"{subject.driver.__name__} has no docstring"


@requirement("Q-STATIC-009", "B-STATIC-007")
def test_options_are_frozen_values(subject: Subject) -> None:
    """Given the options, then they cannot be changed, and forbid what they do not know."""
    config = subject.driver.options_class.model_config

    assert config.get("frozen") is True, "options_class must be frozen"
    assert config.get("extra") == "forbid", "options_class must forbid extra options"
