"""Options of a dispatch that make no sense: the error names the option and what it may be, and nothing is written."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from django_ais import jobs, registry
from django_ais.exceptions import (
    ConfigurationError,
    DispatchError,
    UnknownWorkerError,
)
from django_ais.workers import BaseWorker
from tests.harness.wording import words

pytestmark = pytest.mark.django_db


NOW = datetime.datetime(2024, 5, 1, 12, 0)  # noqa: DTZ001 (what a person may pass)
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "priority too high": ({"priority": 101}, words("priority", "whole number", "-100 to 100")),
    "priority in words": ({"priority": "high"}, words("priority", "whole number")),
    "priority true": ({"priority": True}, words("priority", "whole number")),
    "priority of a kind": ({"priority": 1.0}, words("priority", "whole number")),
    "run_after in words": ({"run_after": "tomorrow"}, words("run_after", "datetime", "str")),
    "run_after a date": ({"run_after": NOW.date()}, words("run_after", "datetime", "date")),
    "run_after a wait": ({"run_after": datetime.timedelta(minutes=5)}, words("run_after", "datetime", "timedelta")),
    "tenant none": ({"tenant": None}, words("tenant", "text", "100")),
    "tenant a number": ({"tenant": 7}, words("tenant", "text")),
    "tenant too long": ({"tenant": "x" * 101}, words("tenant", "100")),
    "tenant with NUL": ({"tenant": "a\0"}, words("tenant", "NUL")),
    "tenant with a surrogate": ({"tenant": "\udcff"}, words("tenant", "surrogate")),
    "queue none": ({"queue": None}, words("queue", "text")),
    "empty key": ({"idempotency_key": ""}, words("idempotency_key", "empty", "leave it out")),
    "key too long": ({"idempotency_key": "x" * 201}, words("idempotency_key", "200")),
    "a user's name": ({"user": "bob"}, words("user", "key", "'bob'")),
    "no user at all": ({"user": object()}, words("user", "key", "object")),
    "a key beyond keys": ({"user": 10**30}, words("user", "key")),
    "config no dict": ({"config": ["max_retries", 3]}, words("config", "dict", "list")),
    "negative retries": ({"config": {"max_retries": -1}}, words("config.max_retries", "greater than or equal to 0")),
    "timeout in words": ({"config": {"timeout": "soon"}}, words("config.timeout", "number")),
    "timeout of ages": ({"config": {"total_timeout": 1e300}}, words("config.total_timeout", "less than")),
    "backoff": ({"config": {"backoff": {"kind": "linear"}}}, words("config.backoff.kind", "'exponential'")),
    "config not JSON": ({"config": {"model": object()}}, words("config.model", "object", "not JSON")),
    "the workflows' worker": ({"worker": "ais.workflow"}, words("'ais.workflow'", "jobs.start")),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_an_option_that_makes_no_sense_is_refused(case, nothing_written):
    """Given such an option, when dispatched, then the error names the option and what it may be."""
    options, message = OPTIONS[case]

    with pytest.raises(DispatchError, match=message):
        jobs.dispatch("echo", 1, **options)


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_time_of_the_other_kind_is_refused(use_tz, settings, nothing_written):
    """Given USE_TZ, when run_after has a zone or none against it, then the error says which kind is wanted."""
    settings.USE_TZ = use_tz
    wrong = NOW if use_tz else NOW.replace(tzinfo=datetime.UTC)

    with pytest.raises(DispatchError, match=words("run_after", "aware" if use_tz else "naive", "timezone.now()")):
        jobs.dispatch("echo", 1, run_after=wrong)


@pytest.mark.parametrize("type", [None, 5, ["echo"], "e\0", "e\ud800", "e" * 101])
def test_a_type_that_is_no_name_is_refused(type, nothing_written):
    """Given a type that no column could hold, when dispatched, then the error says what a type is."""
    with pytest.raises(DispatchError, match=words("type", "text", "100")):
        jobs.dispatch(type, 1)


def test_an_unknown_type_is_refused_with_the_nearest_one(nothing_written):
    """Given a slip of the pen, when dispatched, then the error suggests the type that was meant and where types go."""
    with pytest.raises(UnknownWorkerError, match=words("'ecco'", "Did you mean 'echo'?", "AppConfig.ready()")):
        jobs.dispatch("ecco", 1)


def test_an_unknown_worker_is_refused(nothing_written):
    """Given a worker's name that nobody registered, when dispatched, then the error names it and not the type."""
    with pytest.raises(UnknownWorkerError, match=words("'efect'", "Did you mean 'effect'?")):
        jobs.dispatch("anything", 1, worker="efect")


def test_an_unknown_queue_is_refused(nothing_written):
    """Given a queue that the settings do not name, when dispatched, then the error suggests the one that was meant."""
    with pytest.raises(ConfigurationError, match=words("QUEUES", "'defalt'", "Known: default", "'default'?")):
        jobs.dispatch("echo", 1, queue="defalt")


class Careful(BaseWorker):
    class config_class(BaseModel):  # noqa: N801 (the attribute's name)
        model_config = {"extra": "forbid"}
        tone: str = "plain"

    def run(self, job: Any) -> Any:
        return job.config.tone


def test_a_config_that_the_worker_does_not_know_is_refused(monkeypatch, nothing_written):
    """Given a worker with a config model, when a key does not fit it, then the error names worker and key."""
    monkeypatch.setitem(registry._workers, "careful", Careful)

    with pytest.raises(ConfigurationError, match=words("Careful", "tune", "not permitted")):
        jobs.dispatch("careful", 1, config={"tune": "loud"})
