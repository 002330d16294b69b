"""`rq` without a Redis: its options, its sentences about settings, its command line, and how it fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from django_ais.backends.queue.rq import RqQueue
from django_ais.conformance.servers.processes import free_port
from django_ais.contrib import rq as crew
from django_ais.exceptions import ConfigurationError, QueueError, UnsupportedFeature
from django_ais.queues import QueueMessage
from django_ais.runtime.relay import Sweeper

JSON = "rq.serializers.JSONSerializer"


def driver(alias="default", **options):
    return RqQueue(alias, options, handler="tests.unit.queues.test_rq.driver")


def message(**more):
    return QueueMessage(job_id="1", dispatch_id="1-1", **more)


@pytest.fixture
def nowhere():
    """A URL where nobody listens."""
    with free_port() as port:
        yield f"redis://127.0.0.1:{port}/0"


def test_building_one_imports_no_client_library():
    """Given an interpreter, when a driver is built and checked, then neither rq nor redis has been imported."""
    code = (
        "import sys; from django_ais.backends.queue.rq import RqQueue;"
        "q = RqQueue('default', {}, handler='x.y'); q.worker_command(concurrency=1);"
        "print(*{'rq', 'redis', 'django_rq'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


@pytest.mark.parametrize(
    ("alias", "options", "name"),
    [
        ("default", {}, "ais.default"),
        ("Long Jobs", {}, "ais.long-jobs"),
        ("default", {"queue": "Their Own"}, "Their Own"),
    ],
)
def test_the_queue_is_named_after_the_alias_unless_the_user_names_it(alias, options, name):
    assert driver(alias, **options).queue_name == name


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError, match=r"timeout.*Options it knows: queue, url"):
        driver(timeout=3)


def test_priorities_and_times_are_refused_before_anything_is_sent(nowhere):
    """Given what the engine cannot do, when it is asked for, then it is refused without a connection."""
    queue = driver(url=nowhere)

    with pytest.raises(UnsupportedFeature, match="priorities"):
        queue.enqueue([message(priority=5)])
    with pytest.raises(UnsupportedFeature, match="run_after"):
        queue.enqueue([message(run_after=datetime.now(UTC))])


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.enqueue([message()], timeout=1.0),
        lambda queue: queue.ping(timeout=1.0),
        lambda queue: queue.depth(),
        lambda queue: queue.purge(),
        lambda queue: queue.cancel(["1-1"]),
        lambda queue: queue.probe(),
        lambda queue: queue.deliver_due(),
    ],
    ids=["enqueue", "ping", "depth", "purge", "cancel", "probe", "deliver_due"],
)
def test_a_wrong_url_is_one_of_our_errors_at_once(nowhere, call):
    """Given a URL where nobody listens, when it is used, then the error is ours, names the alias, and comes soon."""
    began = time.monotonic()

    with pytest.raises(QueueError, match="queue 'default': ConnectionError"):
        call(driver(url=nowhere))

    assert time.monotonic() - began < 3  # the library alone: four


def test_the_repetitions_of_the_client_library_are_off(nowhere, settings):
    """Given a queue of django-rq's where nobody listens, when a message is sent, then the error comes at once: the
    client library by itself would try for seconds.
    """
    settings.RQ_QUEUES = {"mail": {"HOST": "127.0.0.1", "PORT": int(nowhere.split(":")[2].split("/")[0])}}
    began = time.monotonic()

    with pytest.raises(QueueError):
        driver(queue="mail").enqueue([message()])

    assert time.monotonic() - began < 3


def test_an_error_of_redis_means_that_the_whole_batch_was_refused():
    import redis

    known = driver().translate(redis.exceptions.OutOfMemoryError("used memory > maxmemory"))

    assert isinstance(known, QueueError)
    assert known.outcome == "rejected"


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("redis://localhost:6379/0", False),
        ("unix:///run/redis.sock", False),
        ("redis://queue.example.org/0", True),
        ("redis://:secret@queue.example.org/0", True),
        ("rediss://queue.example.org/0", True),
        ("rediss://:secret@queue.example.org/0", False),
    ],
)
def test_a_redis_that_others_can_reach_is_warned_of(url, warns):
    found = driver(url=url).check()

    assert bool(found) is warns
    assert "secret" not in " ".join(found)


@pytest.mark.parametrize(
    ("serializer", "warns"), [(None, True), (JSON, False), ("rq.serializers.PickleSerializer", True)]
)
def test_a_queue_of_django_rq_without_the_json_serializer_is_warned_of(settings, serializer, warns):
    config = {"URL": "redis://localhost/3"} | ({"SERIALIZER": serializer} if serializer else {})
    settings.RQ_QUEUES = {"mail": config}

    found = driver(queue="mail").check()

    assert bool(found) is warns
    assert all("RQ_QUEUES['mail']['SERIALIZER']" in sentence for sentence in found)


def test_the_redis_of_django_rq_is_used_unless_a_url_is_given(settings):
    """Given a queue in RQ_QUEUES, when the driver connects, then it does so there; a URL in OPTIONS wins."""
    settings.RQ_QUEUES = {"mail": {"URL": "redis://localhost:7777/3"}}

    ports = [
        driver(**options)._client(1.0).connection_pool.connection_kwargs["port"]
        for options in ({"queue": "mail"}, {"queue": "mail", "url": "redis://localhost:8888"}, {})
    ]

    assert ports == [7777, 8888, 6379]


def test_the_worker_command_is_a_program_of_ours():
    command = driver("mail").worker_command(concurrency=3)

    assert command[:7] == [sys.executable, "-m", "django_ais.contrib.rq", "--queue", "mail", "--concurrency", "3"]


def test_the_command_line_is_understood(monkeypatch):
    """Given the driver's own command line, when the program reads it, then it finds all of it."""
    monkeypatch.setattr(sys, "path", ["/srv/shop", *sys.path])

    options = crew.parser().parse_args(driver("mail").worker_command(concurrency=3)[3:])

    assert (options.queue, options.concurrency, options.path) == ("mail", 3, ["/srv/shop"])


def test_a_process_that_leaves_the_sweep_to_another_starts_none():
    """Given a process beside one that sweeps, when a job would start its sweep, then no thread begins."""
    sweeper = Sweeper()

    sweeper.abstain()
    sweeper.start()

    assert not [thread for thread in threading.enumerate() if thread.name == "ais-sweeper"]
