"""Specs, their digests, their differences, and the inputs of a start."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest
from pydantic import ValidationError

from django_ais.exceptions import WorkflowInputError
from django_ais.workflows.diff import semantic_diff
from django_ais.workflows.durations import parse_duration
from django_ais.workflows.loader import dump, load
from django_ais.workflows.schemas import find_miss, validate_inputs
from django_ais.workflows.spec import JobSpec, WorkflowSpec

TEXT = """\
name: w
inputs:
  type: object
  required: [document_id]
  properties:
    document_id: {type: string}
    language: {type: string, enum: [en, de], default: en}
    tags: {type: array, items: {type: string}, default: []}
  additionalProperties: false
jobs:
  - {id: ocr, type: ocr, config: {timeout: 5m}, with: {n: 1}}
  - {id: file, type: file}
"""


def spec_of(text=TEXT):
    return load(text).require()


def test_a_spec_is_frozen_and_closed():
    """Given a spec, when it is written to or given a key that it does not have, then that is refused."""
    with pytest.raises(ValidationError):
        spec_of().name = "other"
    with pytest.raises(ValidationError):
        JobSpec.model_validate({"id": "a", "type": "a", "worker": "a", "colour": "red"})
    with pytest.raises(ValidationError):
        WorkflowSpec(name="w", jobs=())


def test_a_job_is_found_by_its_id():
    """Given a spec, when a job is asked for, then it is given, and an unknown id raises KeyError."""
    assert spec_of().job("file").needs == ("ocr",)
    with pytest.raises(KeyError):
        spec_of().job("nope")


def test_the_digest_follows_the_meaning():
    """Given two files, when they mean the same, then their digests agree; one changed value changes it."""
    digest = spec_of().digest()

    assert len(digest) == 64
    assert spec_of(TEXT.replace("5m", "300").replace("name: w", "# a comment\nname:   'w'")).digest() == digest
    assert spec_of(TEXT.replace("5m", "301")).digest() != digest
    assert spec_of(TEXT.replace("{n: 1}", "{n: 1.0}")).digest() != digest


def test_the_digest_does_not_depend_on_order_or_on_defaults_written_out():
    """Given keys in another order, or a part of a backoff that is the default anyway, when digested, it is the same."""

    def digest(line):
        return spec_of(f"name: w\njobs: [{{type: T, {line}}}]").digest()

    assert digest("with: {a: 1, b: 2}") == digest("with: {b: 2, a: 1}")
    assert digest("config: {backoff: {first: 2s}}") == digest("config: {backoff: {first: 2, kind: exponential}}")


def test_dumping_keeps_a_number_that_differs_from_its_default_by_type_alone():
    """Given `1.0` over a default of `1`, when dumped and loaded, then the digest is the same."""
    spec = spec_of("name: w\ndefaults: {config: {size: 1}}\njobs: [{type: T, config: {size: 1.0}}]")

    assert spec_of(dump(spec)).digest() == spec.digest()


def test_the_digest_is_the_same_in_another_process():
    """Given the same file in another process with other hashing, when digested, then the digest is the same."""
    code = f"from django_ais.workflows.loader import load; print(load({TEXT!r}).require().digest())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": "."},
    )

    assert done.stdout.strip() == spec_of().digest()


def test_the_language_needs_no_django():
    """Given a process where Django cannot be imported, when the language is imported and used, then it works."""
    code = (
        "import sys; sys.modules['django'] = None\n"
        "from django_ais.workflows import diff, expressions, graph, loader, schemas, spec, templates\n"
        "assert loader.load('name: w\\njobs: [{type: T}]').spec"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "."})


def test_differences_are_named_by_job_and_key():
    """Given two versions, when compared, then each change is one line, and no change is none."""
    old = spec_of()
    new = spec_of(
        TEXT.replace("name: w", "name: w\nversion: '2'")
        .replace("5m", "1m")
        .replace("{n: 1}", "{n: 1.0, m: 2}")
        .replace("{id: file, type: file}", "{id: review, type: review}\n  - {id: store, type: store, needs: []}")
    )

    assert semantic_diff(old, old) == []
    assert semantic_diff(old, new) == [
        '~ version "1" -> "2"',
        "- job file",
        "~ job ocr: with.n 1 -> 1.0",
        "~ job ocr: with.m added: 2",
        "~ job ocr: config.timeout 300.0 -> 60.0",
        "+ job review (worker review, needs ocr)",
        "+ job store (worker store, starts at once)",
    ]


def test_what_is_said_differs_from_what_is_left_out():
    """Given a default that one version writes out, when compared, then it differs: a worker's default may hold."""
    old, new = spec_of("name: w\njobs: [{type: T}]"), spec_of("name: w\njobs: [{type: T, config: {timeout: 300}}]")

    assert semantic_diff(old, new) == ["~ job T: config.timeout added: 300.0"]
    assert old.digest() != new.digest()
    assert spec_of("name: w\njobs: [{type: T, join: all_succeeded, queue: }]").digest() == old.digest()


def test_a_new_order_of_jobs_is_a_difference():
    """Given the same jobs in another order, when compared, then the order is named: the last gives the result."""
    old = spec_of("name: w\njobs: [{id: a, type: T, needs: []}, {id: b, type: T, needs: []}]")
    new = spec_of("name: w\njobs: [{id: b, type: T, needs: []}, {id: a, type: T, needs: []}]")

    assert semantic_diff(old, new) == ['~ order of jobs: ["a", "b"] -> ["b", "a"]']


def test_inputs_get_their_defaults():
    """Given inputs without some fields, when validated, then defaults are filled in, and nothing is shared."""
    spec, given_inputs = spec_of(), {"document_id": "d1"}
    first = validate_inputs(spec, given_inputs)
    first["tags"].append("changed")

    assert validate_inputs(spec, given_inputs) == {"document_id": "d1", "language": "en", "tags": []}
    assert given_inputs == {"document_id": "d1"}


def test_inputs_that_do_not_fit_are_named_and_not_shown():
    """Given wrong inputs, when validated, then every field is named, and no value stands in the message."""
    with pytest.raises(WorkflowInputError) as caught:
        validate_inputs(spec_of(), {"language": "s3cret", "tags": ["a", 5], "colour": "s3cret"})
    message = str(caught.value)

    assert "the inputs do not fit 'w'" in message
    for part in ("language:", "tags.1:", '"document_id" is a required property', "colour"):
        assert part in message
    assert "s3cret" not in message


@pytest.mark.parametrize("inputs", [{"document_id": datetime.date(2026, 1, 1)}, ["a"], "text"])
def test_inputs_that_are_no_json_are_an_input_error(inputs):
    """Given something that is not JSON, when validated, then it is still our error."""
    with pytest.raises(WorkflowInputError):
        validate_inputs(spec_of(), inputs)


def test_a_workflow_without_a_schema_takes_anything():
    """Given no `inputs`, when a start brings some, or none, then they pass."""
    spec = spec_of("name: w\njobs: [{type: T}]")

    assert validate_inputs(spec, {"a": [1]}) == {"a": [1]}
    assert validate_inputs(spec, None) == {}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, 300.0),
        (0.5, 0.5),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("2h", 7_200.0),
        ("1d", 86_400.0),
        ("1.5h", 5_400.0),
        ("3650d", 315_360_000.0),
        ("3651d", None),
        (0, None),
        (-1, None),
        (True, None),
        ("5", None),
        ("5 m", None),
        ("m", None),
        ("1h30m", None),
        ("٣s", None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        ("0s", None),
    ],
)
def test_durations(value, seconds):
    """Given a duration as people write it, when parsed, then it is seconds, or none where it is no duration."""
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    ("schema", "path", "index"),
    [
        (None, ["a"], None),
        ({}, ["a"], None),
        ({"properties": {"a": {}}}, ["a", "b"], None),
        ({"properties": {"a": {}}}, ["b"], 0),
        ({"properties": {"a": {}}, "additionalProperties": True}, ["b"], None),
        ({"properties": {"a": {}}, "patternProperties": {}}, ["b"], None),
        ({"properties": {"a": {"type": "array"}}}, ["a", "b"], 1),
        ({"properties": {"a": {"type": "array", "items": {"properties": {"c": {}}}}}}, ["a", 0, "d"], 2),
        ({"$ref": "#/$defs/X", "$defs": {"X": {"properties": {"a": {}}}}}, ["b"], 0),
        ({"$ref": "#"}, ["a"], None),
        ({"$ref": "#/nowhere"}, ["a"], None),
        ({"anyOf": [{"properties": {"a": {}}}]}, ["b"], None),
        ({"properties": {"a": True}}, ["a", "b"], None),
    ],
)
def test_a_schema_rules_a_path_out_only_where_it_is_sure(schema, path, index):
    """Given a schema, when a path is looked up, then a name is missing only where nothing could bring it."""
    miss = find_miss(schema, path)

    assert (miss.index if miss else None) == index
