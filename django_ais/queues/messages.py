"""What goes to a queue driver and what comes back: messages, outcomes, and who a driver calls. Values, no I/O."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

PRIORITIES = range(-100, 101)
"""Higher runs first; the scale of Django's own Tasks framework."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage:
    """One ring of the doorbell.

    ``dispatch_id`` is unique per announcement (``<job id>-<n>``, at most 64 of ``[A-Za-z0-9_-]``) and is what a broker
    sees as the message's id: reused ids vanish in duplicate windows. ``queue_name`` is the `QUEUES` alias.
    ``run_after`` is set only if the driver said that it can hold a message back.
    """

    job_id: str
    dispatch_id: str
    queue_name: str = "default"
    priority: int = 0
    run_after: datetime | None = None


class Disposition(enum.Enum):
    """What a driver does with a message after the handler returned."""

    ACK = "ack"
    RETRY = "retry"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The handler's answer. ``delay`` in seconds, for ``RETRY``: not to be delivered again before."""

    disposition: Disposition = Disposition.ACK
    delay: float = 0.0


ACK = Outcome()


def retry_in(delay: float) -> Outcome:
    """Ask for the same message again, not before ``delay`` seconds."""
    return Outcome(Disposition.RETRY, delay)


class Handler(Protocol):
    """What a driver calls for each message. It never raises."""

    def __call__(self, job_id: str) -> Outcome: ...


class Host(Protocol):
    """The core's side of a process that runs jobs. An engine's process tells it when it begins and when it stops."""

    def start(self) -> None:
        """This process will run jobs (a child calls it after the fork): begin to sweep. May be called again.

        Raises `ConfigurationError` in a process that cannot run jobs, one patched by gevent for example; such a process
        must end with a code other than 0 and take no message.
        """
        ...

    def drain(self, seconds: float | None = None) -> int:
        """Claim nothing more, wait for the jobs that run, hand the rest back without an attempt; return how many.

        Waits ``seconds`` at most, by default the setting ``DRAIN_SECONDS``. Any thread may call it.
        """
        ...

    def stop(self) -> None:
        """End this process's own threads and close their connections."""
        ...


class Source(Protocol):
    """What a driver whose table is the queue asks the core for (house ruling 7)."""

    def reserve(self, queue_name: str, *, limit: int, timeout: float) -> Sequence[str]:
        """Ids of due jobs, claimed for this process; waits up to ``timeout`` seconds for the first."""
        ...

    def wake(self, queue_name: str) -> None:
        """Tell idle worker processes that rows are due."""
        ...

    def interrupt(self, queue_name: str) -> None:
        """Let a waiting `reserve` of this process return now."""
        ...

    def give_back(self) -> int:
        """Release what was reserved in this process and not begun, without an attempt; return how many."""
        ...
