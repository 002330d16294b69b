"""When to try a failed job again, as arithmetic: values in, a value out. Pure: no Django, no clock, no randomness.

The decision is made here; the act (one UPDATE and one event) is `runtime.lifecycle.reschedule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LONGEST_SECONDS = 3_650 * 86_400.0  # ten years: beyond it, due times leave the range of a database's timestamp


class Backoff(BaseModel):
    """The wait between attempts, in seconds, always with jitter.

    ``exponential`` doubles from ``first`` up to ``max``; ``constant`` stays at ``first``. The wait is drawn between
    half of that and all of it ("equal jitter"), so that jobs which failed together do not come back together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["exponential", "constant"] = "exponential"
    first: float = Field(default=1.0, ge=0, le=LONGEST_SECONDS)
    max: float = Field(default=300.0, ge=0, le=LONGEST_SECONDS)

    def delay(self, *, retry: int, spread: float) -> float:
        """Seconds before the ``retry``-th retry (from 1); ``spread`` in 0..1 places it within the jitter."""
        doublings = min(retry - 1, 32) if self.kind == "exponential" else 0
        full = min(self.first * 2.0**doublings, self.max)
        return full * (0.5 + 0.5 * spread)


class Failure(BaseModel):
    """What a policy needs to know about an error: its code, its class names, base classes included, and two hints."""

    model_config = ConfigDict(frozen=True)

    code: str
    names: tuple[str, ...]
    retryable: bool
    retry_after: float | None = None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception. One that says nothing about itself is retryable, as in every task queue."""
        names = [name for base in type(error).__mro__ for name in (base.__name__, f"{base.__module__}.{base.__name__}")]
        return cls(
            code=str(getattr(error, "code", None) or type(error).__name__),
            names=tuple(names),
            retryable=bool(getattr(error, "retryable", True)),
            retry_after=getattr(error, "retry_after", None),
        )


class RetryDecision(BaseModel):
    """What to do with a failed attempt; ``delay`` in seconds, for ``retry`` alone."""

    model_config = ConfigDict(frozen=True)

    action: Literal["retry", "fail", "suspend"]
    delay: float = 0.0


class RetryPolicy(BaseModel):
    """How often, how soon and for which errors a job is tried again.

    ``retry_on`` and ``no_retry_on`` hold error codes or class names (bare or dotted; a base class counts).
    ``no_retry_on`` wins; a ``retry_on`` that is not empty admits what it names alone; otherwise the error's own
    ``retryable`` decides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_retries: int = Field(default=0, ge=0)
    backoff: Backoff = Backoff()
    retry_on: tuple[str, ...] = ()
    no_retry_on: tuple[str, ...] = ()
    on_exhausted: Literal["fail", "suspend"] = "fail"

    def decide(self, failure: Failure, *, retries: int, spread: float) -> RetryDecision:
        """Decide after ``retries`` retries already made. A provider's ``retry_after`` wins over the backoff."""
        if not self.admits(failure):
            return RetryDecision(action="fail")
        if retries >= self.max_retries:
            return RetryDecision(action=self.on_exhausted if self.max_retries else "fail")
        if failure.retry_after is not None:
            return RetryDecision(action="retry", delay=min(max(0.0, failure.retry_after), LONGEST_SECONDS))
        return RetryDecision(action="retry", delay=self.backoff.delay(retry=retries + 1, spread=spread))

    def admits(self, failure: Failure) -> bool:
        """Whether this error may be retried at all, however many retries are left."""
        words = {failure.code, *failure.names}
        if words & set(self.no_retry_on):
            return False
        return bool(words & set(self.retry_on)) if self.retry_on else failure.retryable


class JobConfig(RetryPolicy):
    """What governs one job: its retry policy and its three time limits, in seconds; None is no limit.

    ``timeout`` bounds one attempt, ``queue_timeout`` the wait for the first claim, ``total_timeout`` the whole job with
    all its attempts, waits and children.
    """

    timeout: float | None = Field(default=300.0, gt=0, le=LONGEST_SECONDS)
    queue_timeout: float | None = Field(default=None, gt=0, le=LONGEST_SECONDS)
    total_timeout: float | None = Field(default=None, gt=0, le=LONGEST_SECONDS)

    def updated(self, raw: Mapping[str, Any]) -> JobConfig:
        """This config with the keys of ``raw`` that are ours laid over it. Raises ValidationError."""
        mine = {key: value for key, value in raw.items() if key in JobConfig.model_fields}
        return self if not mine else JobConfig(**{**self.model_dump(), **mine})


@lru_cache(maxsize=256)
def limits_of(timeout: float | None, policy: RetryPolicy) -> JobConfig:
    """The config of a worker's jobs, before their own."""
    return JobConfig(timeout=timeout, **{name: getattr(policy, name) for name in type(policy).model_fields})


def foreign_keys(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a job's config that are not ours: they belong to the worker's own config model."""
    return {key: value for key, value in raw.items() if key not in JobConfig.model_fields}
