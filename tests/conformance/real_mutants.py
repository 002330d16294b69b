"""The shipped drivers on their real servers, configured or changed so that they break a promise; and their twins.

A twin has the same settings without the break.
"""

from __future__ import annotations

import threading
from typing import Any

from django_ais.backends.queue.celery import TASK, CeleryQueue
from django_ais.backends.queue.dramatiq import DramatiqQueue
from django_ais.backends.queue.nats import NatsQueue
from django_ais.backends.queue.rq import RqQueue
from django_ais.conformance.bench import Bench
from django_ais.conformance.crew import Crew
from django_ais.conformance.profiles import Celery, CeleryOnRabbit, Dramatiq, DramatiqOnRabbit, Nats, Rq
from tests.conformance.honest import broken

VISIBILITY = 1  # seconds after which Redis delivers again
ACK_WAIT = 1.0  # ... and NATS
JOBS = 3  # of four slots: one is free for what comes again


# Celery


class AcknowledgesEarly(CeleryQueue):
    """Its task is Celery's usual one: acknowledged before it runs."""

    def register_task(self) -> None:
        super().register_task()
        task = self.app.tasks[TASK]
        task.acks_late = task.reject_on_worker_lost = False
        broken()


class QuickCelery(Celery):
    """The twin, and a visibility timeout that no job keeps."""

    options = {**Celery.options, "visibility_timeout": VISIBILITY}


class EarlyCelery(QuickCelery):
    driver = f"{__name__}.AcknowledgesEarly"


class EarlyCeleryOnRabbit(CeleryOnRabbit):
    driver = f"{__name__}.AcknowledgesEarly"


def outlast_the_visibility(bench: Bench) -> None:
    """Given jobs that stand until their messages have come again, when they go on, then each is done once.

    The driver's check tells of the setting.
    """
    said = [sentence for sentence in bench.queue.check() if "visibility_timeout" in sentence]
    assert len(said) == 1, said
    assert f"visibility_timeout is {VISIBILITY} s: Redis delivers every longer job again" in said[0]
    crew, gate = Crew(bench), bench.gate()
    ids = crew.dispatch(JOBS, {"gate": gate.path})
    crew.until(lambda: all(len(bench.handed(job_id)) > 1 for job_id in ids), what="all messages to come again")
    assert not bench.ledger.lines("stale"), "a job went on before its message came again"

    gate.open()
    crew.until(lambda: crew.have_ended(ids), what="all jobs to end")

    counts = crew.assert_healed(ids)
    bench.facts["handed"] = sum(len(bench.handed(job_id)) for job_id in ids)
    assert counts["attempts_above_one"] == 0, "a message that came again began its job again"


# NATS


class NeverTouches(NatsQueue):
    """It says that running messages are extended, and extends none."""

    def _touch(self, running: dict[int, Any], ended: threading.Event) -> None:
        broken()


class QuickNats(Nats):
    """The twin."""

    options = {**Nats.options, "ack_wait_seconds": ACK_WAIT}


class UntouchedNats(QuickNats):
    driver = f"{__name__}.NeverTouches"


# Dramatiq


class NeverLooks(DramatiqQueue):
    """Its Redis broker does not look for the messages of silent processes, as with a maintenance chance of 0."""

    def _find_broker(self) -> Any:
        broker = super()._find_broker()
        broker.maintenance_chance = 0
        broken()
        return broker


class UnlookedDramatiq(Dramatiq):
    driver = f"{__name__}.NeverLooks"


class Eager:
    """A consumer that acknowledges whatever it fetches."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __iter__(self) -> Eager:
        return self

    def __next__(self) -> Any:
        if (message := next(self._consumer)) is not None:
            self._consumer.ack(message)
            broken()
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


class ConsumesEagerly(DramatiqQueue):
    """Its messages are acknowledged before the actor runs."""

    def _find_broker(self) -> Any:
        broker = super()._find_broker()
        consume = broker.consume
        broker.consume = lambda *args, **kwargs: Eager(consume(*args, **kwargs))
        return broker


class EarlyDramatiqOnRabbit(DramatiqOnRabbit):
    driver = f"{__name__}.ConsumesEagerly"


# RQ


class NobodyMindsTheTime(RqQueue):
    """RQ's default: no process has a scheduler, so what is held back stays there."""

    def deliver_due(self) -> int:
        broken()
        return 0


class UnscheduledRq(Rq):
    driver = f"{__name__}.NobodyMindsTheTime"
