"""The statuses of a job and which may follow which: a table, no I/O. Pure: no Django."""

from __future__ import annotations

from enum import StrEnum

from django_ais.exceptions import IllegalTransitionError


class JobStatus(StrEnum):
    """Where a job stands. A retry is ``queued`` with a ``run_after`` in the future."""

    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing may follow."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SKIPPED})
OPEN = frozenset(JobStatus) - TERMINAL

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # running -> running is a claim of an expired lease; suspended -> failed is a time limit.
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SKIPPED}),
    JobStatus.RUNNING: OPEN | TERMINAL - {JobStatus.SKIPPED},
    JobStatus.SUSPENDED: frozenset(
        {JobStatus.QUEUED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED},
    ),
    **dict.fromkeys(TERMINAL, frozenset()),
}


def ensure_transition(old: JobStatus | str, new: JobStatus | str, *, job: object = "") -> None:
    """Raise `IllegalTransitionError` unless ``new`` may follow ``old``."""
    if JobStatus(new) not in TRANSITIONS[JobStatus(old)]:
        raise IllegalTransitionError(f"job {job} is {old} and cannot become {new}")
