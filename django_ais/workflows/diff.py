"""What changed between two versions of a workflow, by job and key. Pure: two specs in, lines of text out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from django_ais.workflows.spec import JobSpec, Json, WorkflowSpec

_SHOWN_CHARACTERS = 60
_ABSENT = object()


def semantic_diff(old: WorkflowSpec, new: WorkflowSpec) -> list[str]:
    """One line for each change; an empty list exactly when the digests are equal.

    ``+ job review``, ``- job legacy``, ``~ job ocr: config.timeout 300.0 -> 60.0``. Long values are cut. The order of
    jobs is reported only where it differs, because it has no meaning once ``needs`` are resolved, except for the
    default result.
    """
    lines = [f"~ {change}" for change in _changes(_without_jobs(old), _without_jobs(new))]
    before, after = {job.id: job for job in old.jobs}, {job.id: job for job in new.jobs}
    lines += [f"- job {job_id}" for job_id in before if job_id not in after]
    for job_id, job in after.items():
        if job_id not in before:
            lines.append(f"+ job {job_id} ({_summary(job)})")
        else:
            lines += [f"~ job {job_id}: {change}" for change in _changes(_document(before[job_id]), _document(job))]
    kept_before, kept_after = [job for job in before if job in after], [job for job in after if job in before]
    if kept_before != kept_after:
        lines.append(f"~ order of jobs: {_shown(kept_before)} -> {_shown(kept_after)}")
    return lines


def _without_jobs(spec: WorkflowSpec) -> Json:
    return {key: value for key, value in spec.to_document().items() if key != "jobs"}


def _document(job: JobSpec) -> Json:
    return job.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _summary(job: JobSpec) -> str:
    needs = f"needs {', '.join(job.needs)}" if job.needs else "starts at once"
    return f"worker {job.worker}, {needs}"


def _changes(old: Json, new: Json, path: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{path}.{key}" if path else str(key)
            yield from _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), place)
    elif old is _ABSENT:
        yield f"{path} added: {_shown(new)}"
    elif new is _ABSENT:
        yield f"{path} removed, was {_shown(old)}"
    elif _shown(old, cut=False) != _shown(new, cut=False):
        yield f"{path} {_shown(old)} -> {_shown(new)}"


def _shown(value: Json, *, cut: bool = True) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return f"{text[:_SHOWN_CHARACTERS]}..." if cut and len(text) > _SHOWN_CHARACTERS else text
