"""The Celery driver without a broker: its options, its command line, its scales, what it warns of, its errors."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace
from weakref import WeakSet

import pytest

from django_ais import registry
from django_ais.backends.queue import celery_worker
from django_ais.backends.queue.celery import CeleryQueue, _redis_doubts, rabbit_level, redis_level
from django_ais.backends.queue.celery_app import family, is_exposed
from django_ais.backends.queue.celery_publisher import keep_client
from django_ais.conf import Settings
from django_ais.exceptions import ConfigurationError, QueueError, UnsupportedFeature
from django_ais.queues import ACK, Disposition, Outcome, QueueMessage, retry_in

NOWHERE = "redis://127.0.0.1:1/0"
ONE = QueueMessage(job_id="a", dispatch_id="a-1")


def queue(alias="default", handler="tests.unit.queues.test_celery.acknowledging", **options):
    return CeleryQueue(alias, {"broker_url": NOWHERE, **options}, handler=handler)


def acknowledging(job_id: str) -> Outcome:
    return ACK


# -- options


def test_the_default_settings_name_this_driver_and_celery_queue_is_its_queue():
    settings = Settings(CELERY_QUEUE="default").queue("default")

    built = registry.queues.load(settings.backend)("default", settings.options, handler="x.y")

    assert isinstance(built, CeleryQueue)
    assert built.queue_name == "default"


def test_a_queue_is_called_after_its_alias_unless_told_otherwise():
    assert queue("gpu").queue_name == "ais.gpu"
    assert queue("gpu", queue="Theirs!").queue_name == "Theirs!"


@pytest.mark.parametrize(
    ("options", "word"),
    [({"brokr_url": "x"}, "brokr_url"), ({"broker_url": "localhost"}, "scheme"), ({"pool": "gevent"}, "pool")],
)
def test_a_wrong_option_is_named(options, word):
    with pytest.raises(ConfigurationError, match=word):
        CeleryQueue("default", options, handler="x.y")


@pytest.mark.parametrize(
    ("kombu", "seconds"), [("5.7.0", 70), ("5.10", 70), ("6.0", 70), ("5.6.2", 160), ("5.3.7", 160)]
)
def test_it_says_how_long_the_installed_kombu_lets_a_lost_message_lie(monkeypatch, kombu, seconds):
    """Given kombu before 5.7, which looks for lost messages every 100 s whatever it is told, then it says that."""
    monkeypatch.setattr(metadata, "version", {"kombu": kombu}.__getitem__)

    assert queue(visibility_timeout=60).redelivery_delay == seconds


def test_building_one_imports_no_client_library():
    code = (
        "import sys; from django_ais.backends.queue.celery import CeleryQueue\n"
        f"CeleryQueue('default', {{'broker_url': {NOWHERE!r}}}, handler='x.y')\n"
        "assert not {'celery', 'kombu', 'redis', 'amqp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_app_that_cannot_be_imported_is_an_error_that_names_it():
    with pytest.raises(ConfigurationError, match="'nowhere:app' cannot be imported"):
        _ = queue(app="nowhere:app").app


def test_what_is_no_celery_app_is_refused():
    with pytest.raises(ConfigurationError, match="is no Celery app"):
        _ = queue(app="tests.unit.queues.test_celery:acknowledging").app


# -- which app


def test_our_own_app_takes_json_alone_and_is_not_the_current_one():
    import celery

    app = queue().app

    assert app.conf.broker_url == NOWHERE
    assert list(app.conf.accept_content) == ["json"]
    assert celery.current_app._get_current_object() is not app


def test_the_projects_app_is_used_if_it_has_a_broker():
    from celery import Celery

    with_broker = Celery("shop", broker=NOWHERE, set_as_current=False, fixups=[])
    without = Celery("a-shop", set_as_current=False, fixups=[])

    try:
        found = CeleryQueue("default", {}, handler="x.y").app
    finally:
        with_broker.close()

    assert found is with_broker
    assert without.conf.broker_url is None


def test_a_process_without_the_projects_app_still_publishes_to_the_projects_broker(settings):
    settings.CELERY_BROKER_URL = NOWHERE + "?theirs"
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": "shop."}

    app = CeleryQueue("lonely", {}, handler="x.y").app

    assert app.main == "django_ais"
    assert app.conf.broker_url == NOWHERE + "?theirs"
    assert app.conf.broker_transport_options == {"global_keyprefix": "shop."}


# -- the command line


def test_a_worker_process_consumes_this_queue_alone():
    command = queue("gpu", pool="threads").worker_command(concurrency=3)

    assert command is not None
    assert command[:7] == [sys.executable, "-m", "celery", "-A", "django_ais.contrib.celery:gpu", "worker", "-Q"]
    assert command[7:12] == ["ais.gpu", "-c", "3", "-P", "threads"]
    assert command[12:16] == ["--prefetch-multiplier", "1", "--without-gossip", "--without-mingle"]


def test_a_worker_process_of_a_named_app_is_that_apps():
    command = queue(app="shop.celery:app").worker_command(concurrency=1)

    assert command is not None
    assert command[4] == "shop.celery:app"


# -- scales


def test_redis_runs_low_numbers_first():
    levels = [redis_level(priority) for priority in (100, 50, 49, 1, 0, -1, -100)]

    assert levels == [0, 0, 3, 3, 6, 9, 9]


def test_rabbitmq_runs_high_numbers_first():
    assert [rabbit_level(priority, 10) for priority in (100, 50, 0, -50, -100)] == [10, 7, 5, 2, 0]


def test_priorities_are_refused_where_the_broker_has_none():
    urgent = QueueMessage(job_id="a", dispatch_id="a-1", priority=5)
    rabbit = queue(broker_url="amqp://127.0.0.1:1//")

    with pytest.raises(UnsupportedFeature):
        rabbit.enqueue([urgent])

    assert not rabbit.supports_priority
    assert not rabbit.supports_bulk
    assert queue(broker_url="amqp://127.0.0.1:1//", max_priority=10).supports_priority
    assert queue().supports_priority


@pytest.mark.parametrize(
    ("url", "name"),
    [("rediss://x", "redis"), ("redis+socket:///x", "redis"), ("pyamqp://", "amqp"), ("sqs://", "sqs"), (None, "")],
)
def test_urls_of_one_family(url, name):
    assert family(url) == name


# -- errors


@pytest.mark.parametrize("url", [NOWHERE, "amqp://127.0.0.1:1//"])
def test_a_broker_that_is_not_there_rejects_at_once(url):
    with pytest.raises(QueueError, match="cannot be reached") as caught:
        queue(broker_url=url).enqueue([ONE], timeout=2)

    assert caught.value.outcome == "rejected"
    assert "secret" not in str(caught.value)


def test_a_password_is_not_told():
    with pytest.raises(QueueError) as caught:
        queue(broker_url="redis://:secret@127.0.0.1:1/0").ping()

    assert "secret" not in str(caught.value)


# -- warnings


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("redis://localhost/0", False),
        ("redis://127.0.0.3/0", False),
        ("redis+socket:///run/redis.sock", False),
        ("redis://cache/0", True),
        ("redis://:word@cache/0", True),
        ("rediss://cache/0", True),
        ("rediss://:word@cache/0", False),
    ],
)
def test_a_broker_beyond_this_machine_wants_a_password_and_tls(url, exposed):
    assert is_exposed(url) is exposed


def test_good_settings_are_not_warned_of():
    assert queue().check() == []


def test_settings_that_open_or_lose_something_are_told(monkeypatch):
    from celery import Celery

    app = Celery("bad", broker="redis://cache/0", set_as_current=False, fixups=[])
    app.conf.update(
        accept_content=["application/x-python-serialize"],
        broker_transport_options={"visibility_timeout": 5},
        task_always_eager=True,
    )
    asked = queue()
    monkeypatch.setattr(asked, "_app", app)

    told = " ".join(asked.check())

    for word in ("beyond this machine", "pickle", "no 'json'", "visibility_timeout is 5 s", "task_always_eager"):
        assert word in told


def test_a_redis_that_evicts_and_keeps_nothing_is_told_of():
    def redis(policy, aof, save):
        facts = {"memory": {"maxmemory_policy": policy}, "persistence": {"aof_enabled": aof}}
        return SimpleNamespace(info=facts.__getitem__, config_get=lambda name: {name: save})

    assert _redis_doubts(redis("noeviction", 1, "")) == []
    assert _redis_doubts(redis("noeviction", 0, "3600 1")) == []
    assert "allkeys-lru" in _redis_doubts(redis("allkeys-lru", 1, ""))[0]
    assert "nothing on disk" in _redis_doubts(redis("noeviction", 0, ""))[0]


# -- what becomes of a message


def breaking(job_id: str) -> Outcome:
    raise ImportError("a broken deploy")


def putting_off(job_id: str) -> Outcome:
    return retry_in(0.2)


def refusing(job_id: str) -> Outcome:
    return Outcome(Disposition.REJECT)


@pytest.fixture
def run(monkeypatch):
    """Run the task in this process with a handler; what was sent again is in the list that is returned."""

    def run(name, *, fails=False):
        target = queue(f"run-{name}-{fails}", handler=f"{__name__}.{name}")
        sent = []

        def send_again(job_id, delivery, *, delay):
            if fails:
                raise QueueError("no broker")
            sent.append((job_id, delay))

        monkeypatch.setattr(target, "send_again", send_again)
        monkeypatch.setattr(celery_worker, "sleep", lambda seconds: None)
        target.register_task()
        target.app.tasks[celery_worker.TASK].run("a job")
        return sent

    return run


def test_the_task_is_acknowledged_late_and_never_limited_or_retried_by_celery():
    target = queue("attributes")
    target.register_task()
    task = target.app.tasks[celery_worker.TASK]

    assert task.acks_late
    assert task.reject_on_worker_lost
    assert not task.acks_on_failure_or_timeout
    assert task.ignore_result
    assert task.max_retries is None
    assert (task.time_limit, task.soft_time_limit) == (None, None)


def test_two_aliases_of_one_app_share_its_task(monkeypatch):
    from celery import Celery, _state

    monkeypatch.setattr(_state, "_apps", WeakSet())  # another test's app may not have been collected yet
    monkeypatch.setattr(_state, "default_app", None)
    with_broker = Celery("shop", broker=NOWHERE, set_as_current=False, fixups=[])
    try:
        for alias in ("one", "two"):
            CeleryQueue(alias, {}, handler="x.y").register_task()

        assert celery_worker.TASK in with_broker.tasks
    finally:
        with_broker.close()


def test_a_handled_message_is_acknowledged(run):
    assert run("acknowledging") == []


def test_a_message_that_is_put_off_is_sent_again_with_what_is_left_of_its_delay(run):
    assert run("putting_off") == [("a job", 0.0)]


def test_a_refused_message_is_not_requeued(run):
    from celery.exceptions import Reject

    with pytest.raises(Reject) as caught:
        run("refusing")
    assert not caught.value.requeue


def test_a_handler_that_breaks_does_not_lose_the_message(run):
    assert run("breaking") == [("a job", celery_worker.BROKEN_SECONDS - celery_worker.SLOT_SECONDS)]


def test_a_message_whose_successor_was_not_taken_goes_back(run):
    from celery.exceptions import Reject

    with pytest.raises(Reject) as caught:
        run("putting_off", fails=True)
    assert caught.value.requeue


def test_rabbitmq_declares_our_queue_with_its_priorities():
    app = queue("ranked", broker_url="amqp://127.0.0.1:1//", max_priority=7).app

    assert app.amqp.queues["ais.ranked"].queue_arguments == {"x-max-priority": 7}


def test_a_channel_on_redis_has_one_client_for_all_its_messages():
    """Given kombu's channel, which makes a client for each message, when it publishes, then it is always the same one;
    the loop's clients are made as before, and other brokers' channels are left alone.
    """
    channel = SimpleNamespace(_create_client=lambda asynchronous=False: [asynchronous])

    keep_client(channel)
    keep_client(SimpleNamespace())

    assert channel._create_client() is channel._create_client()
    assert channel._create_client(asynchronous=True) is not channel._create_client(asynchronous=True)
    assert (channel._create_client(), channel._create_client(asynchronous=True)) == ([False], [True])
