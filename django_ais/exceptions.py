"""Every error of django_ais, in one tree. Pure: no Django.

::

    AisError
    ├── ConfigurationError                 a setting, a driver or a worker is named wrongly
    │   ├── UnknownDriverError
    │   └── UnknownWorkerError
    ├── DispatchError                      a job was refused before anything was written
    │   ├── InvalidPayloadError
    │   ├── IdempotencyConflictError
    │   └── UnsupportedFeature             a driver was asked for what its flags deny
    ├── JobError                           something about one job
    │   ├── JobNotFoundError
    │   ├── IllegalTransitionError         the job's status does not allow it
    │   ├── MachineOwnedFieldError         save()/update() of a column that only the runtime writes
    │   ├── WaitInTransactionError
    │   ├── StepMismatch                   a recorded step was found with another input
    │   ├── StepInDoubtError               a crash fell between a call and its record
    │   ├── OutputInvalidError             the answer does not fit the output schema
    │   ├── ChildrenFailedError            the join's policy was not met
    │   ├── JobTimeoutError                retryable; `kind` is queue, attempt or job
    │   └── WorkerCrashed                  the worker processes that claimed it died too often
    ├── StopJob                            not failures: raised inside a hook to leave it
    │   ├── LeaseLost                      somebody else owns the job now
    │   └── JobCancelled
    ├── QueueError                         `outcome` is "rejected" or "unknown"
    │   └── PartialEnqueueError
    ├── BusError
    ├── TooManyStreamsError                a process or a user has as many streams open as it may
    ├── GatewayError                       one class; what happened is its `code`
    └── WorkflowError
        ├── WorkflowNotFoundError
        ├── WorkflowInvalidError           carries every problem found, with places
        ├── WorkflowInputError             a start's inputs do not fit the workflow's `inputs`
        └── ExpressionError                an expression does not parse, or failed on these values

``retryable`` says whether trying the same job again may help; `retry.RetryPolicy` reads it when a policy names nothing
more precise. ``code`` is a stable word for programs; the message is for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal


class AisError(Exception):
    """The base of every error raised by django_ais."""

    code: str = "error"
    retryable: bool = False


class ConfigurationError(AisError):
    """A setting, a driver or a worker is configured wrongly. The message names the setting and the mend."""

    code = "configuration"


class UnknownDriverError(ConfigurationError):
    """No driver of that name is installed."""

    code = "unknown_driver"


class UnknownWorkerError(ConfigurationError):
    """No worker is registered under that name."""

    code = "unknown_worker"


class DispatchError(AisError):
    """A job was refused before anything was written."""

    code = "dispatch_refused"


class InvalidPayloadError(DispatchError):
    """A payload is not JSON, holds NUL or a lone surrogate, or is too large. The message names the field."""

    code = "invalid_payload"


class IdempotencyConflictError(DispatchError):
    """The idempotency key exists for this tenant and type with another payload."""

    code = "idempotency_conflict"


class UnsupportedFeature(DispatchError):
    """A driver was asked for something that its capability flags deny. Raised before anything is sent."""

    code = "unsupported_feature"


class JobError(AisError):
    """Something about one job."""

    code = "job_error"


class JobNotFoundError(JobError):
    """No such job, or not one that may be seen: the two are told apart nowhere."""

    code = "job_not_found"


class IllegalTransitionError(JobError):
    """The job's status does not allow what was asked."""

    code = "illegal_transition"


class MachineOwnedFieldError(JobError):
    """``save()``, ``update()`` or ``bulk_update()`` would write a column that belongs to the runtime."""

    code = "machine_owned_field"


class WaitInTransactionError(JobError):
    """``jobs.wait`` was called inside a transaction, where the job's own row cannot be committed yet."""

    code = "wait_in_transaction"


class StepMismatch(JobError):
    """A step recorded under this key had another input: the code or the data changed between attempts."""

    code = "step_mismatch"


class StepInDoubtError(JobError):
    """A crash fell between a call and its record, and the call may not be repeated by itself."""

    code = "step_in_doubt"


class OutputInvalidError(JobError):
    """The answer does not fit the strategy's output schema, also after the allowed repairs."""

    code = "output_invalid"
    retryable = True


class ChildrenFailedError(JobError):
    """The children ended in a way that the join's policy does not accept."""

    code = "children_failed"


class JobTimeoutError(JobError):
    """A time limit passed: waiting in the ``queue``, one ``attempt``, or the whole ``job``."""

    def __init__(self, message: str, *, kind: Literal["queue", "attempt", "job"] = "attempt") -> None:
        super().__init__(message)
        self.kind = kind
        self.code = f"{kind}_timeout"
        self.retryable = kind == "attempt"


class WorkerCrashed(JobError):
    """The worker processes that claimed this job died, more often than ``MAX_DELIVERIES`` allows."""

    code = "worker_crashed"


class StopJob(AisError):
    """Not a failure: leave the hook now, whatever it does is no longer wanted."""

    code = "stopped"


class LeaseLost(StopJob):
    """This process no longer owns the job. Nothing it does can be written any more."""

    code = "lease_lost"


class JobCancelled(StopJob):
    """The job was cancelled while it ran."""

    code = "cancelled"


class QueueError(AisError):
    """A queue driver could not hand over messages.

    ``outcome`` is ``"rejected"`` (the engine did not take them) or ``"unknown"`` (it may have).
    """

    code = "queue_error"
    retryable = True

    def __init__(self, message: str, *, outcome: Literal["rejected", "unknown"] = "unknown") -> None:
        super().__init__(message)
        self.outcome: Literal["rejected", "unknown"] = outcome


class PartialEnqueueError(QueueError):
    """Some messages of a batch were taken; ``accepted`` and ``failed`` hold their dispatch ids."""

    code = "partial_enqueue"

    def __init__(self, message: str, *, accepted: Sequence[str], failed: Sequence[str]) -> None:
        super().__init__(message, outcome="unknown")
        self.accepted = tuple(accepted)
        self.failed = tuple(failed)


class BusError(AisError):
    """A bus driver could not subscribe. (Publishing never raises for a broker's failure.)"""

    code = "bus_error"
    retryable = True


class TooManyStreamsError(AisError):
    """There is no place for another stream. ``status`` is the HTTP answer: 429 for the user, 503 for the process."""

    code = "too_many_streams"
    retryable = True

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class GatewayError(AisError):
    """A gateway call failed; what happened is the ``code``.

    Codes and whether they are retryable by default: `RETRYABLE`. ``retry_after`` is in seconds and wins over a backoff.
    ``billed`` says whether the provider may have charged the call; ``scope`` what is affected (this ``call``, the
    ``credential``, the ``provider``); ``in_stream`` whether it broke after the first byte. ``safe_message`` may be
    shown to end users: it never holds a prompt, an answer or a key.
    """

    RETRYABLE: ClassVar[Mapping[str, bool]] = {
        "rate_limited": True,
        "overloaded": True,
        "unavailable": True,
        "server_error": True,
        "connection": True,
        "timeout": True,
        "stream_truncated": True,
        "output_invalid": True,
        "output_length": False,
        "quota_exhausted": False,
        "auth": False,
        "context_length": False,
        "invalid_request": False,
        "content_filter": False,
        "refusal": False,
        "not_found": False,
        "unsupported": False,
        "budget_exceeded": False,
    }

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool | None = None,
        retry_after: float | None = None,
        billed: Literal["no", "maybe", "yes"] = "maybe",
        scope: Literal["call", "credential", "provider"] = "call",
        in_stream: bool = False,
        status: int | None = None,
        safe_message: str | None = None,
    ) -> None:
        if code not in self.RETRYABLE:
            raise ValueError(f"unknown gateway error code {code!r}; one of: {', '.join(sorted(self.RETRYABLE))}")
        super().__init__(message)
        self.code = code
        self.retryable = self.RETRYABLE[code] if retryable is None else retryable
        self.retry_after = retry_after
        self.billed: Literal["no", "maybe", "yes"] = billed
        self.scope: Literal["call", "credential", "provider"] = scope
        self.in_stream = in_stream
        self.status = status
        self.safe_message = safe_message or code.replace("_", " ")

    def __reduce__(self) -> tuple[Any, ...]:
        return _gateway_error, (str(self), {name: value for name, value in vars(self).items() if name != "args"})


def _gateway_error(message: str, details: dict[str, Any]) -> GatewayError:
    """Build a `GatewayError` again, after pickling."""
    return GatewayError(message, **details)


class WorkflowError(AisError):
    """Something about a workflow file or a stored workflow."""

    code = "workflow_error"


class WorkflowNotFoundError(WorkflowError):
    """No workflow of that name (and version) is imported for this tenant."""

    code = "workflow_not_found"


class WorkflowInvalidError(WorkflowError):
    """A workflow file has problems; ``problems`` holds all of them (`workflows.loader.Problem`)."""

    code = "workflow_invalid"

    def __init__(self, message: str, *, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class WorkflowInputError(WorkflowError):
    """The inputs of a start do not fit the workflow's ``inputs`` schema. The message names each field."""

    code = "workflow_input"


class ExpressionError(WorkflowError):
    """An expression does not parse or failed on these values; ``position`` counts characters from 0."""

    code = "expression_error"

    def __init__(self, message: str, *, position: int | None = None, hint: str = "", rule: str = "X200") -> None:
        super().__init__(message)
        self.position = position
        self.hint = hint
        self.rule = rule
