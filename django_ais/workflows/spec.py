"""What a workflow says, as frozen values. No YAML here and no checks: `loader` reads, checks and builds these.

A `WorkflowSpec` that came from `loader.load` is consistent: ids are unique, needs exist and form no cycle, durations
are seconds, and the workflow's ``defaults`` are already merged into each job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from django_ais.retry import Backoff, RetryPolicy

SCHEMA = "ais/v1"
DEFAULT_VERSION = "1"
DEFAULT_TIMEOUT_SECONDS = 300.0
DEFAULT_MAX_ITEMS = 1_000

Json: TypeAlias = Any  # a JSON value: None, bool, int, float, str, list or dict with text keys
Join: TypeAlias = Literal["all_succeeded", "none_failed", "any_succeeded", "all_done"]
OnItemFailure: TypeAlias = Literal["stop", "collect", "ignore"]
Scalar: TypeAlias = str | int | float | bool


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ConfigSpec(_Frozen):
    """How one workflow job runs. Times are seconds; ``None`` means no limit.

    ``extra`` holds every key that is not ours: it belongs to the worker's own config model. What the file does not say
    is unset (``model_fields_set``): a worker's own defaults hold there.
    """

    max_retries: int = Field(default=0, ge=0)
    timeout: float | None = Field(default=DEFAULT_TIMEOUT_SECONDS, gt=0)
    queue_timeout: float | None = Field(default=None, gt=0)
    total_timeout: float | None = Field(default=None, gt=0)
    backoff: Backoff = Backoff()
    retry_on: tuple[str, ...] = ()
    no_retry_on: tuple[str, ...] = ()
    on_exhausted: Literal["fail", "suspend"] = "fail"
    extra: dict[str, Json] = Field(default_factory=dict)

    def retry_policy(self) -> RetryPolicy:
        """The part of this config that decides about retries."""
        return RetryPolicy(
            max_retries=self.max_retries,
            backoff=self.backoff,
            retry_on=self.retry_on,
            no_retry_on=self.no_retry_on,
            on_exhausted=self.on_exhausted,
        )


class ForeachSpec(_Frozen):
    """Run the job once for each item of a list. ``limit`` is how many run at once, ``None`` all of them."""

    in_: Json = Field(alias="in")
    as_: str = Field(alias="as")
    limit: int | None = Field(default=None, ge=1)
    max_items: int = Field(default=DEFAULT_MAX_ITEMS, ge=1)
    on_item_failure: OnItemFailure = "stop"


class JobSpec(_Frozen):
    """One workflow job. ``needs`` is resolved: never "the job before", always ids.

    ``worker`` is the text of the file (a registry name or a registered class's dotted path), by default the type.
    ``if_`` is an expression's text without braces. ``with_`` is a template, or ``None``: the payload of the run for a
    job without needs, else the needed job's result. ``outputs`` declares names: a type in words or a JSON Schema
    each.
    """

    id: str
    type: str
    worker: str
    queue: str | None = None
    priority: int | None = None
    needs: tuple[str, ...] = ()
    join: Join = "all_succeeded"
    if_: str | None = Field(default=None, alias="if")
    foreach: ForeachSpec | None = None
    with_: Json = Field(default=None, alias="with")
    config: ConfigSpec = ConfigSpec()
    outputs: dict[str, str | dict[str, Json]] | None = None
    description: str = ""
    labels: dict[str, Scalar] = Field(default_factory=dict)


class DefaultsSpec(_Frozen):
    """What a job takes where it says nothing itself. Already merged into every `JobSpec`; kept for export."""

    queue: str | None = None
    priority: int | None = None
    config: ConfigSpec = ConfigSpec()


class WorkflowSpec(_Frozen):
    """One version of one workflow.

    ``inputs`` is a JSON Schema (draft 2020-12) or ``None``: anything. ``outputs`` is a template or ``None``: the
    result of the last job.
    """

    schema_: Literal["ais/v1"] = Field(default="ais/v1", alias="schema")
    name: str
    version: str = DEFAULT_VERSION
    description: str = ""
    labels: dict[str, Scalar] = Field(default_factory=dict)
    inputs: dict[str, Json] | None = None
    defaults: DefaultsSpec = DefaultsSpec()
    jobs: tuple[JobSpec, ...] = Field(min_length=1)
    outputs: Json = None

    def job(self, job_id: str) -> JobSpec:
        """The workflow job of that id; raises `KeyError`."""
        for job in self.jobs:
            if job.id == job_id:
                return job
        raise KeyError(job_id)

    def to_document(self) -> dict[str, Json]:
        """This spec as JSON, for storing: what was said, without what was left to its default.

        `from_document` gives an equal spec back that still knows the difference, so that a worker's own defaults hold
        where the file says nothing.
        """
        return {"schema": SCHEMA, **self.model_dump(mode="json", by_alias=True, exclude_unset=True)}

    @classmethod
    def from_document(cls, document: Mapping[str, Json]) -> WorkflowSpec:
        """Read what `to_document` wrote. Checks types only; raises pydantic's `ValidationError`."""
        return cls.model_validate(dict(document))

    def digest(self) -> str:
        """SHA-256, in hex, of the canonical JSON: one meaning, one digest, on every machine."""
        text = json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
