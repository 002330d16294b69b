"""Planning: which workflow jobs may start, which never can, and whether the run is over. Statuses in, a plan out.

A job is decided once all jobs that it *directly* needs have ended, whatever its join; then everything that they
waited for has ended too, and its expressions may read it. A skipped job has neither failed nor succeeded; a cancelled
one counts as failed.

=================  ====================================
join               the job starts when, else skipped
=================  ====================================
``all_succeeded``  every need succeeded
``none_failed``    no need failed or was cancelled
``any_succeeded``  at least one need succeeded
``all_done``       always
=================  ====================================

A job without needs starts at once. A failure does not stop branches that do not depend on it.

The run fails when a job failed or was cancelled and that was not *handled*. It is handled when a job that directly
needs it started all the same, because of its join, and succeeded. ``if`` and ``foreach`` are the engine's: it
evaluates them for the jobs that this module calls ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django_ais.states import TERMINAL, JobStatus
from django_ais.workflows.spec import JobSpec, WorkflowSpec

_FAILED = frozenset({"failed", "cancelled"})
_STATUSES = frozenset(str(status) for status in JobStatus)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next. ``skip`` pairs jobs with a reason in words, in an order in which they may be written.

    ``finished``: once ``skip`` is written, every job has ended. ``failed`` is decided only then, and ``unhandled``
    names the failed or cancelled jobs that make it so.
    """

    ready: tuple[JobSpec, ...]
    skip: tuple[tuple[JobSpec, str], ...]
    finished: bool
    failed: bool
    unhandled: tuple[str, ...] = ()


def plan(spec: WorkflowSpec, statuses: Mapping[str, str]) -> Plan:
    """Plan from the statuses of the jobs that exist (no entry: not created yet).

    Skips cascade within one call. Planning again after acting on the plan gives only what is new. Ids that the workflow
    does not have are ignored; a word that is no status raises `ValueError`.
    """
    known = _known(spec, statuses)
    ready: list[JobSpec] = []
    skip: list[tuple[JobSpec, str]] = []
    waiting, before = [job for job in spec.jobs if job.id not in known], -1
    while before != len(skip):
        before, undecided, waiting = len(skip), waiting, []
        for job in undecided:
            reason = _decide(job, known)
            if reason is None:
                waiting.append(job)
            elif reason:
                skip.append((job, reason))
                known[job.id] = "skipped"
            else:
                ready.append(job)
    finished = not ready and not waiting and all(known[job.id] in TERMINAL for job in spec.jobs)
    unhandled = _unhandled(spec, known) if finished else ()
    order = {job.id: index for index, job in enumerate(spec.jobs)}
    ready.sort(key=lambda job: order[job.id])
    return Plan(tuple(ready), tuple(skip), finished, bool(unhandled), unhandled)


def _known(spec: WorkflowSpec, statuses: Mapping[str, str]) -> dict[str, str]:
    known = {job.id: str(statuses[job.id]) for job in spec.jobs if job.id in statuses}
    for job_id, status in known.items():
        if status not in _STATUSES:
            raise ValueError(f"job '{job_id}' has the status {status!r}; one of: {', '.join(sorted(_STATUSES))}")
    return known


def _decide(job: JobSpec, known: Mapping[str, str]) -> str | None:
    """``None``: wait. ``""``: start. Anything else: skip, and why."""
    needs = {need: known.get(need, "") for need in job.needs}
    if not needs or not TERMINAL.issuperset(needs.values()):
        return None if needs else ""
    if job.join == "any_succeeded":
        return "" if "succeeded" in needs.values() else f"no need succeeded: {_told(needs)}"
    bad = {"all_succeeded": TERMINAL - {"succeeded"}, "none_failed": _FAILED}.get(job.join, frozenset())
    stopping = {need: status for need, status in needs.items() if status in bad}
    return _told(stopping)


def _told(statuses: Mapping[str, str]) -> str:
    return ", ".join(
        f"'{need}' {'failed' if status == 'failed' else f'was {status}'}" for need, status in statuses.items()
    )


def _unhandled(spec: WorkflowSpec, known: Mapping[str, str]) -> tuple[str, ...]:
    handled = {need for job in spec.jobs if known[job.id] == "succeeded" for need in job.needs}
    return tuple(job.id for job in spec.jobs if known[job.id] in _FAILED and job.id not in handled)


def find_cycles(needs: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Cycles of jobs that wait for one another, each as ``(a, b, a)``: a needs b, b needs a.

    Each job is named in at most one cycle, so the list is short and its cost linear. Needs that are no jobs are
    ignored.
    """
    cycles: list[tuple[str, ...]] = []
    done: set[str] = set()
    reported: set[str] = set()
    for start in needs:
        path: dict[str, int] = {}
        stack = [(start, iter(needs[start]))] if start not in done else []
        path.update({start: 0} if stack else {})
        while stack:
            job, rest = stack[-1]
            need = next(rest, None)
            if need is None:
                stack.pop()
                del path[job]
                done.add(job)
            elif need in path:
                members = list(path)[path[need] :]
                if reported.isdisjoint(members):
                    cycles.append(_rotated(members, needs))
                    reported.update(members)
            elif need in needs and need not in done:
                path[need] = len(stack)
                stack.append((need, iter(needs[need])))
    return cycles


def _rotated(members: list[str], needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The cycle from the job that stands first in the file, closed."""
    order = {job: index for index, job in enumerate(needs)}
    first = min(range(len(members)), key=lambda index: order[members[index]])
    turned = members[first:] + members[:first]
    return (*turned, turned[0])


class Ancestry:
    """Answers what a job waits for: its needs, their needs, and so on. The needs must form no cycle."""

    def __init__(self, needs: Mapping[str, Sequence[str]]) -> None:
        # Bit masks: sets would take 400 MB for the longest chain that a file may hold.
        self._bits = {job: 1 << index for index, job in enumerate(needs)}
        self._masks: dict[str, int] = {}
        for start in needs:
            self._fill(start, needs)

    def _fill(self, start: str, needs: Mapping[str, Sequence[str]]) -> None:
        stack = [start]
        while stack:
            known = [need for need in needs[stack[-1]] if need in self._bits]
            missing = [need for need in known if need not in self._masks]
            if missing:
                stack.extend(missing)
                continue
            mask = 0
            for need in known:
                mask |= self._bits[need] | self._masks[need]
            self._masks[stack.pop()] = mask

    def waits_for(self, job: str, other: str) -> bool:
        """Whether ``other`` has always ended when ``job`` starts."""
        return bool(self._masks[job] & self._bits.get(other, 0))
