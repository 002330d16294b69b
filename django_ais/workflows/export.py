"""A spec as the mapping that its file would hold: keys in the documented order, what equals a default left out."""

from __future__ import annotations

from django_ais.workflows.spec import ConfigSpec, DefaultsSpec, ForeachSpec, JobSpec, Json, WorkflowSpec

_NOTHING = DefaultsSpec()


def to_source(spec: WorkflowSpec) -> dict[str, Json]:
    """The file's content as JSON, ready for a YAML emitter."""
    return _filled(
        {
            "schema": spec.schema_,
            "name": spec.name,
            "version": spec.version,
            "description": spec.description,
            "labels": spec.labels,
            "inputs": spec.inputs,
            "defaults": _filled(
                _queue(spec.defaults, _NOTHING) | {"config": _config(spec.defaults.config, _NOTHING.config)}
            ),
            "jobs": [
                _job(job, spec.jobs[index - 1].id if index else None, spec) for index, job in enumerate(spec.jobs)
            ],
            "outputs": spec.outputs,
        },
        keep=("inputs", "outputs"),
    )


def _filled(values: dict[str, Json], keep: tuple[str, ...] = ()) -> dict[str, Json]:
    """Without keys that say nothing; those of ``keep`` say something as soon as they have a value."""
    return {key: value for key, value in values.items() if value is not None and (key in keep or value not in ("", {}))}


def _job(job: JobSpec, before: str | None, spec: WorkflowSpec) -> dict[str, Json]:
    implied = (before,) if before is not None else ()
    source: dict[str, Json] = {"id": job.id, "type": job.type}
    if job.worker != job.type:
        source["worker"] = job.worker
    source |= _queue(job, spec.defaults)
    if job.needs != implied:
        source["needs"] = list(job.needs)
    if job.join != "all_succeeded":
        source["join"] = job.join
    return source | _filled(
        {
            "if": job.if_,
            "foreach": _foreach(job.foreach) if job.foreach else None,
            "with": job.with_,
            "config": _config(job.config, spec.defaults.config),
            "outputs": job.outputs,
            "description": job.description,
            "labels": job.labels,
        },
        keep=("with", "outputs"),
    )


def _queue(own: JobSpec | DefaultsSpec, default: DefaultsSpec) -> dict[str, Json]:
    pairs = {"queue": (own.queue, default.queue), "priority": (own.priority, default.priority)}
    return {key: value for key, (value, inherited) in pairs.items() if value != inherited}


def _foreach(foreach: ForeachSpec) -> dict[str, Json]:
    return foreach.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _config(own: ConfigSpec, default: ConfigSpec) -> dict[str, Json]:
    """What ``own`` says beyond ``default``: our keys, then the worker's."""
    values, inherited = (_said(config) for config in (own, default))
    changed = {key: value for key, value in values.items() if key not in inherited or value != inherited[key]}
    theirs = {
        key: value
        for key, value in own.extra.items()
        if key not in default.extra or not _same(value, default.extra[key])
    }
    return changed | theirs


def _said(config: ConfigSpec) -> dict[str, Json]:
    """Our keys, as far as they were said; whole seconds without a point."""
    values = config.model_dump(mode="json", exclude_unset=True, exclude={"extra"})
    if "backoff" in values:
        values["backoff"] = _whole(values["backoff"])
    return _whole(values)


def _whole(values: dict[str, Json]) -> dict[str, Json]:
    return {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in values.items()}


def _same(left: Json, right: Json) -> bool:
    """Equality of JSON that tells ``1`` from ``1.0`` and ``true``."""
    return left == right and repr(left) == repr(right)
