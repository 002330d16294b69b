"""The NATS driver without a server: options, names, what it warns of, what it tells of a batch that went wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from django_ais.backends.queue.nats import NatsQueue
from django_ais.backends.queue.nats.session import Session, wait_before_redelivery
from django_ais.exceptions import ConfigurationError, PartialEnqueueError, QueueError, UnsupportedFeature
from django_ais.queues import QueueMessage


def queue_with(alias: str = "default", **options: Any) -> NatsQueue:
    return NatsQueue(alias, options, handler="tests.handler")


def messages(count: int) -> list[QueueMessage]:
    return [QueueMessage(job_id=str(number), dispatch_id=f"{number}-1") for number in range(count)]


def test_building_a_driver_imports_no_client_library():
    """Given a process that only dispatches to other queues, when the driver is built, then NATS is not imported."""
    program = (
        "import sys; from django_ais.backends.queue.nats import NatsQueue;"
        "NatsQueue('default', {}, handler='x.y'); sys.exit('nats' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("alias", "options", "subject"),
    [
        ("default", {}, "ais.default"),
        ("Slow Jobs", {}, "ais.slow-jobs"),
        ("default", {"subject": "Shop.Jobs"}, "Shop.Jobs"),
    ],
)
def test_the_subject_is_named_after_the_alias_unless_it_is_given(alias, options, subject):
    assert queue_with(alias, **options).subject == subject


@pytest.mark.parametrize(
    ("option", "value"),
    [("subject", "jobs.*"), ("subject", "jobs..x"), ("stream", "with space"), ("ack_wait_seconds", 0), ("servers", [])],
)
def test_an_option_that_cannot_work_is_refused_by_name(option, value):
    with pytest.raises(ConfigurationError, match=option):
        queue_with(**{option: value})


def test_a_running_delivery_is_extended_well_before_its_time_is_up():
    assert queue_with().touch_seconds == 20
    assert queue_with(ack_wait_seconds=6).touch_seconds == 2


def test_it_says_when_a_silent_message_comes_again():
    """Given an option for it, then the flag says what the option says."""
    assert queue_with().redelivery_delay == 60
    assert queue_with(ack_wait_seconds=6).redelivery_delay == 6


def test_a_delay_is_told_in_nanoseconds():
    assert wait_before_redelivery(2.5) == b'-NAK {"delay": 2500000000}'
    assert wait_before_redelivery(0) == b"-NAK"


def test_what_the_flags_deny_is_refused_before_anything_is_sent():
    """Given an engine without priorities, when a message has one, then no connection is made for it."""
    queue = queue_with(url="nats://127.0.0.1:9")

    with pytest.raises(UnsupportedFeature, match="priority"):
        queue.enqueue([QueueMessage(job_id="x", dispatch_id="x-1", priority=1)])
    assert queue._links == {}


# -- warnings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"url": "nats://127.0.0.1:4222,nats://[::1]:4223", "replicas": 3}, []),
        ({"url": "tls://broker:4222", "token": "x"}, []),
        ({"url": "tls://user:word@broker:4222"}, []),
        ({"url": "tls://broker:4222"}, ["nobody logs in"]),
        ({"url": "nats://broker", "user": "u", "password": "p"}, ["not encrypted"]),
        ({"url": "broker:4222"}, ["nobody logs in", "not encrypted"]),
        ({"url": "tls://a,tls://b", "credentials_file": "x.creds"}, ["replicas"]),
    ],
)
def test_a_server_beyond_this_machine_wants_a_login_and_encryption(options, words):
    found = queue_with(**options).check()

    assert len(found) == len(words)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))


def test_no_secret_is_shown():
    options = queue_with(url="nats://u:hushhush@broker:4222", token="hushhush", password="hushhush").options

    assert "hushhush" not in options.shown
    assert "hushhush" not in repr((options.token, options.password))


def test_an_old_server_is_refused_with_what_to_do():
    """Given a server before 2.10, when it answers, then the error names its version and the one it takes."""
    client: Any = SimpleNamespace(
        connected_server_version=SimpleNamespace(major=2, minor=9), jetstream=lambda **_: None, is_connected=True
    )
    session = Session.__new__(Session)
    session.client = client

    with pytest.raises(QueueError, match=r"2\.9; this driver needs 2\.10") as caught:
        session._require_server()
    assert caught.value.outcome == "rejected"


# -- a batch that went wrong


class Answering:
    """A connection that takes some messages, and tells an error for the others."""

    def __init__(self, failed: dict[str, Exception]) -> None:
        self.failed = failed

    def call(self, work: Any, timeout: float) -> dict[str, Exception]:
        return self.failed


def answered(failed: dict[str, Exception]) -> NatsQueue:
    queue = queue_with()
    queue._links[os.getpid()] = Answering(failed)  # type: ignore[assignment]
    return queue


def test_a_batch_taken_in_part_names_what_was_taken():
    """Given a server that takes two of three messages, when they are sent, then the error names both kinds."""
    queue = answered({"1-1": TimeoutError("no word")})

    with pytest.raises(PartialEnqueueError) as caught:
        queue.enqueue(messages(3))

    assert caught.value.accepted == ("0-1", "2-1")
    assert caught.value.failed == ("1-1",)


def test_a_batch_that_was_not_taken_at_all_says_what_is_known():
    from nats.js.errors import NoStreamResponseError

    with pytest.raises(QueueError) as caught:
        answered({"0-1": NoStreamResponseError()}).enqueue(messages(1))
    assert caught.value.outcome == "rejected"

    with pytest.raises(QueueError) as caught:
        answered({"0-1": TimeoutError("no word")}).enqueue(messages(1))
    assert caught.value.outcome == "unknown"
