"""Drivers that break one promise each, and the requirement that must find out.

The base is honest; what is overridden here is broken, and says so to the ledger when it runs (`broken`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from queue_driver.spool import Taken as Held

from django_ais.backends.queue.memory import Taken, _ending
from django_ais.conformance.ledger import here
from django_ais.exceptions import QueueError
from django_ais.queues import BaseQueue, QueueMessage
from tests.conformance.honest import Door, Folder, Memory, Plain, Spool, broken

MUTANTS: list[tuple[str, type[BaseQueue]]] = []

Messages = Sequence[QueueMessage]


def must_be_found_by(id: str) -> Any:
    """The requirement that a mutant breaks."""

    def add(mutant: type[BaseQueue]) -> type[BaseQueue]:
        MUTANTS.append((id, mutant))
        return mutant

    return add


# What is sent


@must_be_found_by("Q-ENQUEUE-001")
class ChangesIds(Memory):
    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        broken()
        super()._enqueue([replace(one, job_id=one.job_id.upper()) for one in messages], timeout=timeout)


@must_be_found_by("Q-ENQUEUE-001")
class LosesTheLast(Memory):
    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        broken()
        super()._enqueue(messages[:-1], timeout=timeout)


@must_be_found_by("Q-ENQUEUE-002")
class SaysNothingOfADeadEngine(Door):
    def knock(self, timeout: float | None) -> None:
        try:
            super().knock(timeout)
        except OSError:
            broken()


@must_be_found_by("Q-ENQUEUE-002")
class LetsForeignErrorsThrough(Door):
    def enqueue(self, messages: Messages, *, timeout: float = 5.0) -> None:
        broken()
        self._enqueue(messages, timeout=timeout)


@must_be_found_by("Q-ENQUEUE-003")
class WaitsForEver(Door):
    def knock(self, timeout: float | None) -> None:
        broken()
        super().knock(None)


@must_be_found_by("Q-ENQUEUE-004")
class TakesTwoOfABatch(Memory):
    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        if len(messages) > 2:
            broken()
        super()._enqueue(messages[:2], timeout=timeout)


@must_be_found_by("Q-ENQUEUE-004")
class TakesNoBatches(Memory):
    def enqueue(self, messages: Messages, *, timeout: float = 5.0) -> None:
        broken()
        self._enqueue(messages, timeout=timeout)


@must_be_found_by("Q-ENQUEUE-005")
class BelongsToAThread(Memory):
    owner = 0

    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        self.owner = self.owner or threading.get_ident()
        if self.owner != threading.get_ident():
            broken()
            raise QueueError("this connection belongs to another thread")
        super()._enqueue(messages, timeout=timeout)


@must_be_found_by("Q-ENQUEUE-006")
class BelongsToAProcess(Memory):
    owner = 0

    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        self.owner = self.owner or os.getpid()
        if self.owner != os.getpid():
            broken()
            raise QueueError("this connection belongs to another process")
        super()._enqueue(messages, timeout=timeout)


@must_be_found_by("Q-ENQUEUE-007")
class MakesTwoMessagesOne(Memory):
    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        known = self.__dict__.setdefault("known", set())
        new = [one for one in messages if one.job_id not in known]
        known.update(one.job_id for one in new)
        if len(new) < len(messages):
            broken()
        super()._enqueue(new, timeout=timeout)


@must_be_found_by("Q-ENQUEUE-008")
class RefusesRepeats(Memory):
    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        known = self.__dict__.setdefault("known", set())
        if any(one.dispatch_id in known for one in messages):
            broken()
            raise QueueError("this message is known", outcome="rejected")
        known.update(one.dispatch_id for one in messages)
        super()._enqueue(messages, timeout=timeout)


@must_be_found_by("Q-ENQUEUE-009")
class IgnoresWhatItCannotDo(Plain):
    def _refuse_denied(self, message: QueueMessage) -> None:
        broken()


@must_be_found_by("Q-ENQUEUE-009")
class RefusesTooLate(Plain):
    def enqueue(self, messages: Messages, *, timeout: float = 5.0) -> None:
        for message in messages:
            broken()
            super().enqueue([message], timeout=timeout)


# What becomes of it


class Answering(Memory):
    """Hands out deliveries of the mutant's own kind."""

    kind: type[Taken]

    def _reserve(self, *, limit: int, timeout: float) -> Sequence[Taken]:
        return [self.kind(self, one.job_id) for one in super()._reserve(limit=limit, timeout=timeout)]


@must_be_found_by("Q-DELIVER-001")
class ForgetsRetries(Answering):
    class kind(Taken):  # noqa: N801
        def nack(self, delay: float) -> None:
            broken()


@must_be_found_by("Q-DELIVER-001")
class RetriesAtOnce(Answering):
    class kind(Taken):  # noqa: N801
        def nack(self, delay: float) -> None:
            broken()
            super().nack(0.0)


@must_be_found_by("Q-DELIVER-002")
class RepeatsWhatWasRejected(Answering):
    class kind(Taken):  # noqa: N801
        def reject(self) -> None:
            broken()
            self.nack(0.2)


@must_be_found_by("Q-DELIVER-003")
class RepeatsWhatWasDone(Answering):
    class kind(Taken):  # noqa: N801
        def ack(self) -> None:
            if len(here().lines("handed", job=self.job_id)) < 2:
                broken()
                self.nack(0.2)


@must_be_found_by("Q-DELIVER-004")
class KeepsUnknownJobs(Answering):
    class kind(Taken):  # noqa: N801
        def ack(self) -> None:
            from django_ais.models import JobPacket

            if not JobPacket.objects.filter(id=self.job_id).exists():
                broken()
                self.nack(0.2)


@must_be_found_by("Q-DELIVER-005")
class DiesOfAnException(Memory):
    def _work(self, handler: Any, *rest: Any) -> None:
        def fragile(job_id: str) -> Any:
            try:
                return handler(job_id)
            except Exception:  # noqa: BLE001 - the mutant meets whatever the handler raises
                broken()
                raise SystemExit from None  # nobody catches that: the thread ends

        super()._work(fragile, *rest)


@must_be_found_by("Q-DELIVER-006")
class AcknowledgesFirst(Spool):
    def _reserve(self, *, limit: int, timeout: float) -> list[Held]:
        found = super()._reserve(limit=limit, timeout=timeout)
        for taken in found:
            broken()
            taken.ack()
        return found


@must_be_found_by("Q-DELIVER-007")
class LeavesItsJobs(Spool):
    def _run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        def leave() -> None:
            stop.wait()
            broken()
            os._exit(0)

        threading.Thread(target=leave, daemon=True).start()
        return super()._run_worker(concurrency=concurrency, stop=stop)


@must_be_found_by("Q-TOUCH-001")
class NeverTouches(Spool):
    def _touch(self, running: dict[int, Any], ended: threading.Event) -> None:
        broken()


# What the flags say


@must_be_found_by("Q-PRIORITY-001")
class IgnoresPriority(Memory):
    def _put(self, job_id: str, priority: int, delay: float) -> None:
        if priority:
            broken()
        super()._put(job_id, 0, delay)


@must_be_found_by("Q-PRIORITY-001")
class TurnsPriorityRound(Memory):
    def _put(self, job_id: str, priority: int, delay: float) -> None:
        if priority:
            broken()
        super()._put(job_id, -priority, delay)


@must_be_found_by("Q-PRIORITY-002")
class KnowsTenPriorities(Memory):
    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        if any(not 0 <= one.priority < 10 for one in messages):
            broken()
            raise QueueError("priorities are 0 to 9", outcome="rejected")
        super()._enqueue(messages, timeout=timeout)


@must_be_found_by("Q-RUNAFTER-001")
class IgnoresRunAfter(Memory):
    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        if any(one.run_after for one in messages):
            broken()
        super()._enqueue([replace(one, run_after=None) for one in messages], timeout=timeout)


@must_be_found_by("Q-RUNAFTER-001")
class LosesWhatIsHeldBack(Memory):
    def _put(self, job_id: str, priority: int, delay: float) -> None:
        if delay > 0:
            broken()
            return
        super()._put(job_id, priority, delay)


@must_be_found_by("Q-RUNAFTER-002")
class CountsInSmallNumbers(Memory):
    def _put(self, job_id: str, priority: int, delay: float) -> None:
        if delay > 86_400:
            broken()
            delay = 0.0  # as where the milliseconds no longer fit
        super()._put(job_id, priority, delay)


@must_be_found_by("Q-RUNAFTER-002")
class IgnoresItsLimit(Memory):
    max_run_after = timedelta(hours=1)

    def can_hold_until(self, moment: datetime) -> bool:
        broken()
        return True


@must_be_found_by("Q-CANCEL-001")
class TakesNothingBack(Folder):
    def _cancel(self, dispatch_ids: Sequence[str]) -> None:
        broken()


@must_be_found_by("Q-CANCEL-002")
class PretendsToTakeBack(Memory):
    def cancel(self, dispatch_ids: Sequence[str]) -> None:
        broken()


@must_be_found_by("Q-PURGE-001")
class PurgesNothing(Folder):
    def _purge(self) -> None:
        broken()


@must_be_found_by("Q-PURGE-002")
class PretendsToPurge(Memory):
    def purge(self) -> None:
        broken()


@must_be_found_by("Q-DEPTH-001")
class AlwaysEmpty(Memory):
    def depth(self) -> int:
        broken()
        return 0


@must_be_found_by("Q-DEPTH-001")
class CountsWhatWasSent(Memory):
    total = 0

    def _enqueue(self, messages: Messages, *, timeout: float) -> None:
        self.total += len(messages)
        super()._enqueue(messages, timeout=timeout)

    def depth(self) -> int:
        broken()
        return self.total


@must_be_found_by("Q-DEPTH-002")
class SaysNoughtForUnknown(Plain):
    def depth(self) -> int:  # type: ignore[override]
        broken()
        return 0


@must_be_found_by("Q-WORKER-001")
class ReturnsAtOnce(Memory):
    supports_worker = False

    def run_worker(self, *, concurrency: int, stop: threading.Event) -> int:
        broken()
        return 0


@must_be_found_by("Q-CLOSE-001")
class ClosesOnce(Memory):
    closed = False

    def close(self) -> None:
        if self.closed and not _ending.is_set():
            broken()
            raise RuntimeError("closed already")
        self.closed = True
        super().close()


@must_be_found_by("Q-CHECK-001")
class ChecksTheNetwork(Door):
    def check(self) -> list[str]:
        broken()
        self.ping()
        return []


@must_be_found_by("Q-CHECK-001")
class ChecksInOneSentence(Memory):
    def check(self) -> list[str]:
        broken()
        return "all is well"  # type: ignore[return-value]


@must_be_found_by("Q-PING-001")
class AlwaysThere(Door):
    def ping(self, *, timeout: float = 5.0) -> None:
        broken()
