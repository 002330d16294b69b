"""Workflows as stored: immutable versions by digest, and the specs that runs are pinned to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from django_ais.exceptions import WorkflowError, WorkflowNotFoundError
from django_ais.models import JobPacket, Workflow
from django_ais.runtime import database
from django_ais.workflows.spec import WorkflowSpec

CACHED_SPECS = 256


@dataclass(frozen=True)
class Stored:
    """What storing came to; ``previous`` is the version that was newest before."""

    workflow: Workflow
    outcome: Literal["created", "unchanged"]
    previous: Workflow | None = None


def store(spec: WorkflowSpec, *, source: str, tenant: str = "") -> Stored:
    """Store a spec as a new version, or say that it is unchanged; in the caller's transaction if there is one.

    Raises `WorkflowError` if the same version was stored with other content: a version is never changed.
    """

    def work() -> Stored:
        digest = spec.digest()
        versions = Workflow.objects.using(database.database()).filter(tenant=tenant, name=spec.name)
        previous = versions.order_by("-id").first()
        same = versions.filter(version=spec.version).first()
        if same is None:
            row = Workflow(
                tenant=tenant,
                name=spec.name,
                version=spec.version,
                digest=digest,
                spec=spec.to_document(),
                source=source,
            )
            row.save(using=database.database(), force_insert=True)
            return Stored(row, "created", previous)
        if same.digest != digest:
            raise WorkflowError(
                f"{spec.name}@{spec.version} was imported before with other content; give the file a new version"
            )
        return Stored(same, "unchanged", previous)

    return work() if database.is_in_transaction() else database.transact(work)


def find(name: str, *, tenant: str = "", version: str | None = None) -> Workflow:
    """The newest version of a workflow, or the given one (``name@version`` says it too).

    A tenant's own workflow hides the shared one of the same name (tenant ``""``). Raises `WorkflowNotFoundError` saying
    what there is.
    """
    if version is None and "@" in name:
        name, _, version = name.rpartition("@")
    for owner in dict.fromkeys((tenant, "")):
        found = Workflow.objects.using(database.database()).filter(tenant=owner, name=name)
        if version is not None:
            found = found.filter(version=version)
        if (newest := found.order_by("-id").first()) is not None:
            return newest
    raise WorkflowNotFoundError(_missing(name, tenant, version))


def _missing(name: str, tenant: str, version: str | None) -> str:
    from django_ais.conf import did_you_mean

    known = Workflow.objects.using(database.database()).filter(tenant__in=(tenant, ""))
    names = sorted(set(known.values_list("name", flat=True)[:500]))
    label = name if version is None else f"{name}@{version}"
    return (
        f"No workflow named {label!r} is imported.{did_you_mean(name, names)} "
        f"Imported: {', '.join(names) or 'none'}. Import it with: manage.py import_workflow FILE"
    )


@lru_cache(maxsize=CACHED_SPECS)
def _parsed(workflow_id: int, digest: str) -> WorkflowSpec:
    row = Workflow.objects.using(database.database()).only("spec").get(id=workflow_id)
    return WorkflowSpec.from_document(row.spec)


def pinned(root: JobPacket) -> Workflow:
    """The version that a run started with."""
    if root.workflow is None:
        raise WorkflowError(f"run {root.id} has no workflow")
    return root.workflow


def spec_of(workflow: Workflow) -> WorkflowSpec:
    """The spec of a stored version; parsed once a process, since a version never changes."""
    return _parsed(workflow.id, workflow.digest)
