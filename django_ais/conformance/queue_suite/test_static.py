"""What a queue driver's class says of itself. Nothing is started."""

from __future__ import annotations

import importlib

from django_ais.conformance.manifest import requirement
from django_ais.conformance.subject import Subject
from django_ais.queues import BaseQueue, PullQueue


def overrides(driver: type[BaseQueue], name: str) -> bool:
    return getattr(driver, name, None) not in (getattr(BaseQueue, name, None), getattr(PullQueue, name, None))


@requirement("Q-STATIC-001")
def test_it_enqueues_and_says_how_jobs_are_run(subject: Subject) -> None:
    """Given the class, then it writes `_enqueue`, and one of the ways to consume unless it starts no worker."""
    driver = subject.driver
    ways = [name for name in ("_reserve", "_run_worker", "worker_command") if overrides(driver, name)]

    assert issubclass(driver, BaseQueue)
    assert overrides(driver, "_enqueue"), "it has no _enqueue of its own"
    assert ways or not driver.supports_worker, "supports_worker is True and nothing consumes"


@requirement("Q-STATIC-006")
def test_the_worker_command_is_a_list_of_words(subject: Subject) -> None:
    """Given an instance, then worker_command is None, or words that `exec` could take."""
    for command in subject.said["worker_commands"]:
        if command is None:
            continue
        assert isinstance(command, list)
        assert command, "an empty command"
        assert all(isinstance(word, str) and word for word in command), command


@requirement("Q-STATIC-007")
def test_the_error_map_leads_from_exceptions_to_outcomes(subject: Subject) -> None:
    """Given error_map, then its keys are paths of exceptions, and its values `rejected` or `unknown`."""
    for path, outcome in subject.driver.error_map.items():
        assert outcome in ("rejected", "unknown"), f"{path} leads to {outcome!r}"
        module, _, name = path.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue  # an optional part of the client library
        assert isinstance(kind, type), f"{path} is no exception"
        assert issubclass(kind, BaseException), f"{path} is no exception"
