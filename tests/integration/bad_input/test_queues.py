"""Settings of queues that cannot work are told at once, and nothing is written or sent."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.core.checks import run_checks

from django_ais import jobs, registry
from django_ais.exceptions import ConfigurationError, UnknownDriverError, UnsupportedFeature
from django_ais.queues import QueueMessage

pytestmark = pytest.mark.django_db(transaction=True)

WRONG = {
    "an option that celery does not have": ("celery", {"url": "redis://localhost"}, ("url", "broker_url")),
    "an option that dramatiq does not have": ("dramatiq", {"broker": "x"}, ("broker", "url")),
    "an option that rq does not have": ("rq", {"ttl": 3}, ("ttl", "queue, url")),
    "an option that nats does not have": ("nats", {"host": "x"}, ("host", "stream")),
    "an option that django_tasks does not have": ("django_tasks", {"interval": 1}, ("interval", "poll_seconds")),
    "an option that database does not have": ("database", {"url": "x"}, ("url", "none")),
    "a URL without a scheme for celery": ("celery", {"broker_url": "localhost"}, ("scheme", "redis://")),
    "a URL of another kind for dramatiq": ("dramatiq", {"url": "http://localhost"}, ("redis://", "amqp://")),
    "a URL without a scheme for rq": ("rq", {"url": "localhost:6379"}, ("redis://", "unix://")),
    "a URL of another kind for nats": ("nats", {"url": "http://localhost"}, ("nats://", "tls://")),
    "a slip of the pen": ("celry", {}, ("'celry'", "Did you mean 'celery'?")),
}


def use(settings, backend, options):
    """Let the queue `default` be this driver."""
    queue = {"BACKEND": backend, "OPTIONS": options}
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": queue}}


@pytest.mark.parametrize("case", WRONG)
def test_a_queue_that_cannot_be_built_is_refused(case, settings, nothing_written):
    """Given such settings, when the queue is built, then the error names what is wrong and what there is."""
    backend, options, words = WRONG[case]
    use(settings, backend, options)

    with pytest.raises((ConfigurationError, UnknownDriverError)) as caught:
        registry.queues["default"]

    assert [word for word in words if word not in str(caught.value)] == []
    assert [error for error in run_checks() if str(caught.value) in error.msg], "manage.py check says nothing"


@pytest.mark.parametrize(("backend", "module"), [("nats", "nats"), ("rq", "rq"), ("celery", "celery")])
def test_a_driver_without_its_library_is_refused_before_it_connects(backend, module, settings, monkeypatch):
    """Given a driver whose client library is not installed, when it is built, then the error names the library."""
    use(settings, backend, {})
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ConfigurationError, match=f"'{backend}' needs {module}, which is not installed"):
        registry.queues["default"]


def test_a_broker_that_celery_does_not_know_is_told_by_check(settings):
    """Given a URL of a kind that no transport has, when checked, then a sentence says what to write."""
    use(settings, "celery", {"broker_url": "http://localhost"})

    assert "no broker of the kind 'http'" in registry.queues["default"].check()[0]


@pytest.mark.parametrize("backend", ["rq", "nats", "dramatiq"])
def test_a_priority_that_an_engine_does_not_know_is_refused_before_it_is_sent(backend, settings):
    """Given an engine without priorities (and with nobody listening), when a message has one, then it is refused as
    such.
    """
    use(settings, backend, {"url": "nats://127.0.0.1:1" if backend == "nats" else "redis://127.0.0.1:1"})
    message = QueueMessage(job_id="a", dispatch_id="a-1", priority=5)

    with pytest.raises(UnsupportedFeature, match="has no priorities"):
        registry.queues["default"].enqueue([message])


def test_a_job_with_a_priority_is_taken_by_every_queue(settings):
    """Given an engine without priorities, when a job has one, then the row keeps it and the message goes without."""
    sent: list[QueueMessage] = []
    use(settings, "rq", {"url": "redis://127.0.0.1:1"})
    queue: Any = registry.queues["default"]
    queue._enqueue = lambda messages, *, timeout: sent.extend(messages)

    job = jobs.dispatch("echo", 1, priority=5)

    assert (job.priority, [message.priority for message in sent]) == (5, [0])
