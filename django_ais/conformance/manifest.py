"""What a driver has to do, as data: each requirement with its id, and when it applies.

An id is never reused. Every id has a test, every test an id (`requirement`), and every MUST of the contract tier has a
deliberately broken driver that it must find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

REVISION = "1.0"
Kind = Literal["queue", "bus"]
TIERS = ("static", "contract", "stateful", "process")

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Requirement:
    """One sentence that is true of a conforming driver. Ids begin with Q for queues and with B for buses.

    ``capability`` is a flag of the driver's class, or several with spaces between them; with ``!`` before it the
    requirement applies where the flag is False. Two words are facts and no flags: ``servers`` (there is a server) and
    ``process`` (jobs run in worker processes). None: it applies to all.
    """

    id: str
    tier: Literal["static", "contract", "stateful", "process"]
    level: Literal["MUST", "MAY"]
    capability: str | None
    sentence: str
    since: str = "1.0"

    @property
    def kind(self) -> Kind:
        """Of the drivers that it is asked of."""
        return "queue" if self.id.startswith("Q-") else "bus"


def requirement(*ids: str) -> Callable[[F], F]:
    """Say which requirement a test proves: one of each kind at most."""
    for id in ids:
        if id not in BY_ID:
            raise LookupError(f"no requirement has the id {id!r}; write its sentence into conformance/manifest.py")

    def mark(test: F) -> F:
        vars(test)["requirements"] = ids
        return test

    return mark


def requirement_of(test: object, kind: Kind) -> str:
    """The id that a test proves of drivers of a kind; empty if it proves none."""
    return next((id for id in getattr(test, "requirements", ()) if BY_ID[id].kind == kind), "")


REQUIREMENTS = (
    Requirement("Q-STATIC-001", "static", "MUST", None, "It is a BaseQueue that enqueues, and says how jobs are run."),
    Requirement("Q-STATIC-002", "static", "MUST", None, "Flags are booleans of the contract, limits are numbers."),
    Requirement("Q-STATIC-003", "static", "MAY", None, "A flag that the driver sets stands beside its question."),
    Requirement("Q-STATIC-004", "static", "MUST", None, "An option that it does not know is refused by name."),
    Requirement("Q-STATIC-005", "static", "MUST", None, "Building it does no I/O and imports no client library."),
    Requirement("Q-STATIC-006", "static", "MUST", None, "worker_command is a list of words, or None."),
    Requirement("Q-STATIC-007", "static", "MUST", None, "error_map leads from exceptions to rejected or unknown."),
    Requirement("Q-STATIC-008", "static", "MAY", None, "Module, class and options say in prose what they are."),
    Requirement("Q-STATIC-009", "static", "MUST", None, "Options are frozen values with a description each."),
    Requirement("Q-ENQUEUE-001", "contract", "MUST", None, "A message accepted brings its job's id to the handler."),
    Requirement("Q-ENQUEUE-002", "contract", "MUST", "servers", "Where nobody listens, QueueError comes in time."),
    Requirement("Q-ENQUEUE-003", "contract", "MUST", "servers", "An engine that never answers is given up in time."),
    Requirement("Q-ENQUEUE-004", "contract", "MUST", None, "A batch at max_batch and past it arrives whole."),
    Requirement("Q-ENQUEUE-005", "contract", "MUST", None, "It may be called from many threads at once."),
    Requirement("Q-ENQUEUE-006", "contract", "MUST", None, "It may be called before and after a fork."),
    Requirement("Q-ENQUEUE-007", "contract", "MUST", None, "Two messages for one job are not made into one."),
    Requirement("Q-ENQUEUE-008", "contract", "MUST", None, "The same message twice harms nobody."),
    Requirement("Q-ENQUEUE-009", "contract", "MUST", None, "What the flags deny is refused before anything is sent."),
    Requirement("Q-DELIVER-001", "contract", "MUST", None, "RETRY brings the message again, not before the delay."),
    Requirement("Q-DELIVER-002", "contract", "MUST", None, "REJECT does not bring the message again."),
    Requirement("Q-DELIVER-003", "contract", "MUST", None, "An acknowledged message does not come again."),
    Requirement("Q-DELIVER-004", "contract", "MUST", None, "A message for a job that is unknown is done with."),
    Requirement("Q-DELIVER-005", "contract", "MUST", None, "A handler that raises does not stop the consumer."),
    Requirement(
        "Q-DELIVER-006", "contract", "MUST", "redelivers_on_worker_loss",
        "A worker process that dies in the handler has not acknowledged: the engine delivers again.",
    ),
    Requirement("Q-DELIVER-007", "contract", "MUST", "process", "Told to stop, a worker process lets its job end."),
    Requirement("Q-TOUCH-001", "contract", "MUST", "supports_touch", "A job that still runs is given to nobody else."),
    Requirement("Q-PRIORITY-001", "contract", "MUST", "supports_priority", "A higher priority overtakes."),
    Requirement("Q-PRIORITY-002", "contract", "MUST", "supports_priority", "The whole scale, -100 to 100, is taken."),
    Requirement("Q-RUNAFTER-001", "contract", "MUST", "supports_run_after", "Held back until its time, then brought."),
    Requirement("Q-RUNAFTER-002", "contract", "MUST", "supports_run_after", "Taken at the limit, refused past it."),
    Requirement("Q-CANCEL-001", "contract", "MUST", "supports_cancel_pending", "What was taken back is not brought."),
    Requirement("Q-CANCEL-002", "contract", "MUST", "!supports_cancel_pending", "Taking back is refused."),
    Requirement("Q-PURGE-001", "contract", "MUST", "supports_purge", "After a purge nothing waits."),
    Requirement("Q-PURGE-002", "contract", "MUST", "!supports_purge", "A purge is refused."),
    Requirement("Q-DEPTH-001", "contract", "MUST", "supports_depth", "depth counts what waits, up and down."),
    Requirement("Q-DEPTH-002", "contract", "MUST", "!supports_depth", "depth is None: unknown is not 0."),
    Requirement("Q-WORKER-001", "contract", "MUST", "!supports_worker", "run_worker is refused."),
    Requirement("Q-CLOSE-001", "contract", "MUST", None, "close may be called twice, from any thread."),
    Requirement("Q-CHECK-001", "contract", "MUST", None, "check returns sentences and needs no engine."),
    Requirement("Q-PING-001", "contract", "MUST", "servers", "ping raises QueueError in time if the engine is away."),
    Requirement("Q-STATE-001", "stateful", "MUST", None, "Whatever the order of events, a model of it holds."),
    Requirement("Q-LOSS-001", "process", "MUST", "process", "Worker processes are killed: no job lost, none twice."),
    Requirement("Q-STALE-001", "process", "MUST", "process", "One that stood still past its lease writes nothing."),
    Requirement("Q-TWICE-001", "process", "MUST", "process", "Every message twice: every effect once."),
    Requirement("Q-POISON-001", "process", "MUST", "process", "A job that kills whoever runs it fails, alone."),
    Requirement("Q-BROKER-001", "process", "MUST", "servers", "The broker is killed and comes back: no job lost."),
    Requirement("Q-BROKER-002", "process", "MUST", "servers", "The broker loses its data: no job lost."),
    Requirement("Q-BROKER-003", "process", "MUST", "servers", "The broker is down at dispatch: no job lost."),
    Requirement("B-STATIC-001", "static", "MUST", None, "It is a BaseBus that publishes and subscribes."),
    Requirement("B-STATIC-002", "static", "MUST", None, "Flags are booleans of the contract, limits are numbers."),
    Requirement("B-STATIC-003", "static", "MAY", None, "A flag that the driver sets stands beside its question."),
    Requirement("B-STATIC-004", "static", "MUST", None, "An option that it does not know is refused by name."),
    Requirement("B-STATIC-005", "static", "MUST", None, "Building it does no I/O and imports no client library."),
    Requirement("B-STATIC-006", "static", "MAY", None, "Module, class and options say in prose what they are."),
    Requirement("B-STATIC-007", "static", "MUST", None, "Options are frozen values with a description each."),
    Requirement("B-PUBLISH-001", "contract", "MUST", None, "What is published on a topic wakes whoever listens to it."),
    Requirement("B-PUBLISH-002", "contract", "MUST", "carries_payload", "The event itself arrives, letter by letter."),
    Requirement("B-PUBLISH-003", "contract", "MUST", "!carries_payload", "No content leaves, only numbers."),
    Requirement("B-PUBLISH-004", "contract", "MUST", None, "At max_inline_bytes and past it the event is announced."),
    Requirement("B-PUBLISH-005", "contract", "MUST", None, "It may be called from many threads at once."),
    Requirement("B-PUBLISH-006", "contract", "MUST", "process", "It may be called before and after a fork."),
    Requirement("B-PUBLISH-007", "contract", "MUST", "process", "Another process hears it."),
    Requirement("B-PUBLISH-008", "contract", "MUST", "!crosses_processes", "No other process hears it."),
    Requirement("B-PUBLISH-009", "contract", "MUST", "servers", "With the server away nobody is held, losses count."),
    Requirement("B-PUBLISH-010", "contract", "MUST", "servers", "A server that never answers is given up in time."),
    Requirement("B-LISTEN-001", "contract", "MUST", None, "Once subscribed, the very next event is heard."),
    Requirement("B-LISTEN-002", "contract", "MUST", None, "Topics are added while others are heard."),
    Requirement("B-LISTEN-003", "contract", "MUST", None, "Topics that were dropped are heard no more; the rest are."),
    Requirement("B-LISTEN-004", "contract", "MUST", None, "A topic is heard by who asked for it, and by nobody else."),
    Requirement("B-LISTEN-005", "contract", "MUST", None, "Every subscription of a process hears everything."),
    Requirement("B-LISTEN-006", "contract", "MUST", None, "A slow reader's frames are bounded, and it learns of it."),
    Requirement("B-LISTEN-007", "contract", "MUST", "servers", "Where nobody is, subscribing is a BusError in time."),
    Requirement("B-LISTEN-008", "contract", "MUST", None, "Closing ends the iteration; no frame comes after."),
    Requirement("B-SIGNED-001", "contract", "MUST", None, "A frame that somebody forged is a wake-up and no event."),
    Requirement(
        "B-LINK-001", "contract", "MUST", "servers detects_reconnect",
        "The server is killed and comes back: Reconnected, then events.",
    ),
    Requirement("B-LINK-002", "contract", "MUST", "servers detects_reconnect", "A connection that is cut is told of."),
    Requirement("B-LINK-003", "contract", "MUST", "servers detects_reconnect", "After twenty cuts it hears."),
    Requirement("B-CLOSE-001", "contract", "MUST", None, "close may be called twice, from any thread."),
    Requirement("B-CHECK-001", "contract", "MUST", None, "check returns sentences and needs no server."),
    Requirement("B-PROBE-001", "contract", "MUST", "servers", "probe raises BusError in time if the server is away."),
    Requirement("B-EXACT-001", "process", "MUST", None, "Frames lost, repeated, reordered: 1 to n, once."),
    Requirement("B-EXACT-002", "process", "MUST", None, "Joined at any of 500 moments: 1 to n, once."),
    Requirement("B-EXACT-003", "process", "MUST", None, "The last frame of a run is lost: its end is read."),
    Requirement("B-EXACT-004", "process", "MUST", None, "An event past the inline limit is read whole."),
    Requirement("B-EXACT-005", "process", "MUST", "process", "Worker processes are killed: 1 to n, once."),
    Requirement("B-TENANT-001", "process", "MUST", None, "Frames of another tenant's run on a topic change nothing."),
    Requirement("B-BROKER-001", "process", "MUST", "servers", "The server is killed and forgets: 1 to n, back in 3 s."),
    Requirement("B-BROKER-002", "process", "MUST", "servers", "The server stands still: no job waits, 1 to n, once."),
    Requirement("B-STORM-001", "process", "MUST", "servers detects_reconnect", "Links are cut: 1 to n, once."),
)  # fmt: skip

BY_ID = {requirement.id: requirement for requirement in REQUIREMENTS}


def of_kind(kind: Kind) -> list[Requirement]:
    """The requirements asked of drivers of a kind, in order."""
    return [requirement for requirement in REQUIREMENTS if requirement.kind == kind]
