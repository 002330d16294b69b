"""JSON Schema (draft 2020-12) around a workflow: is a schema valid, which names does it promise, do values fit it.

Never the network: references to other documents are refused before a validator sees them, and its retriever refuses
again. Patterns run on a regular-expression engine of linear time (so they have no look-around).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs

from django_ais.exceptions import WorkflowInputError
from django_ais.workflows.spec import Json, WorkflowSpec

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TYPES = ("string", "integer", "number", "boolean", "array", "object", "null", "any")
_SHOWN_ERRORS = 20
_MAX_HOPS = 16  # references followed while looking for a name


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What the checks may know about a registered worker. Schemas are plain JSON; ``None``: it declares none."""

    name: str
    path: str
    output_schema: Mapping[str, Json] | None = None
    config_schema: Mapping[str, Json] | None = None


def find_worker(name: str, workers: Mapping[str, WorkerInfo]) -> WorkerInfo | None:
    """The worker registered under ``name``, or the one whose class has this dotted path. Nothing is imported."""
    if name in workers:
        return workers[name]
    return next((worker for worker in workers.values() if worker.path == name), None) if "." in name else None


def schema_fault(schema: Mapping[str, Json]) -> str:
    """Why this is not a usable JSON Schema, or an empty text."""
    if schema.get("$schema", DRAFT) not in (DRAFT, f"{DRAFT}#"):
        return f"'$schema' is not {DRAFT}"
    for reference in _outside_references(schema):
        return f"'{reference}' points outside of this schema"
    try:
        _validator(_canonical(schema))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        return _one_line(getattr(error, "message", None) or str(error))
    return ""


def _outside_references(schema: Json) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
                yield value
            yield from _outside_references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _outside_references(item)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _canonical(schema: Json) -> str:
    return json.dumps(schema, sort_keys=True, ensure_ascii=False)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} points outside of this schema")


@lru_cache(maxsize=256)
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    # The mask keeps inputs out of messages, and so out of logs.
    return jsonschema_rs.Draft202012Validator(
        json.loads(schema), retriever=_refuse, mask="the value", pattern_options=jsonschema_rs.RegexOptions()
    )


def faults(schema: Mapping[str, Json], value: Json) -> list[tuple[tuple[str | int, ...], str]]:
    """Where and why ``value`` does not fit a valid schema: paths and messages that hold no part of the value."""
    found = _validator(_canonical(schema)).iter_errors(value)
    return [(tuple(error.instance_path), _one_line(error.message)) for error in found]


def validate_inputs(spec: WorkflowSpec, inputs: Mapping[str, Json] | None) -> dict[str, Json]:
    """The inputs of a start, with the ``default`` of each absent top-level property filled in. A copy.

    Raises `WorkflowInputError`, which names every field that does not fit and shows no value.
    """
    if inputs is not None and not isinstance(inputs, Mapping):
        raise WorkflowInputError(f"the inputs of '{spec.name}' are an object, not a {type(inputs).__name__}")
    filled = defaults_of(spec.inputs) | dict(inputs or {})
    if spec.inputs is None:
        return filled
    try:
        found = faults(spec.inputs, filled)
    except (ValueError, TypeError, RecursionError) as error:
        raise WorkflowInputError(f"the inputs of '{spec.name}' are not JSON: {_one_line(str(error))}") from None
    if found:
        lines = [f"{'.'.join(map(str, path)) or 'inputs'}: {message}" for path, message in found[:_SHOWN_ERRORS]]
        lines += [f"and {len(found) - _SHOWN_ERRORS} more"] if len(found) > _SHOWN_ERRORS else []
        raise WorkflowInputError(f"the inputs do not fit '{spec.name}': " + "; ".join(lines))
    return filled


def defaults_of(schema: Mapping[str, Json] | None) -> dict[str, Json]:
    """The defaults that a schema's top-level properties give."""
    properties = (schema or {}).get("properties", {})
    return {
        name: copy.deepcopy(rule["default"])
        for name, rule in properties.items()
        if isinstance(rule, Mapping) and "default" in rule
    }


def default_faults(schema: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Defaults that do not fit their own property: each start would fail. Names and messages."""
    values = defaults_of(schema)
    return [(str(path[0]), message) for path, message in faults(schema, values) if path]


def declared_schema(outputs: Mapping[str, Json]) -> dict[str, Json]:
    """The schema of a job's ``outputs``: a name's type in words or a schema each."""
    properties = {
        name: {} if rule == "any" else {"type": rule} if isinstance(rule, str) else rule
        for name, rule in outputs.items()
    }
    return {"type": "object", "properties": properties}


@dataclass(frozen=True, slots=True)
class Miss:
    """A path that a schema rules out: at which part of it, and what there is instead (empty: nothing by name)."""

    index: int
    known: tuple[str, ...]
    is_list: bool = False


def find_miss(schema: Mapping[str, Json] | None, path: Sequence[str | int]) -> Miss | None:
    """The first part of ``path`` that the schema cannot give, as far as its plain parts say. In doubt ``None``."""
    root = schema or {}
    here: Any = root
    for index, key in enumerate(path):
        here = _resolve(root, here)
        if not isinstance(here, Mapping):
            return None
        if isinstance(key, int):
            here = here.get("items")
        elif here.get("type") == "array":
            return Miss(index, (), is_list=True)
        else:
            properties = here.get("properties")
            if not isinstance(properties, Mapping) or here.get("additionalProperties") not in (None, False):
                return None
            if key not in properties:
                return None if _is_open(here) else Miss(index, tuple(properties))
            here = properties[key]
    return None


def _is_open(schema: Mapping[str, Json]) -> bool:
    """Whether names may come from elsewhere in the schema."""
    return any(key in schema for key in ("patternProperties", "allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef"))


def _resolve(root: Mapping[str, Json], schema: Any) -> Any:
    for _ in range(_MAX_HOPS):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or "properties" in schema:
            return schema
        if not reference.startswith("#/"):
            return None
        schema = root
        for part in reference[2:].split("/"):
            schema = schema.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(schema, Mapping) else None
    return None
