"""The vocabulary of events: complete, and pinned by one golden file for each type.

A released event never changes its name or loses a field, so a golden file is only ever added, or given a new field.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from django_ais.events import (
    DELTA_TYPES,
    SCHEMA_VERSION,
    TERMINAL_TYPES,
    VOCABULARY,
    CustomEvent,
    Envelope,
    build,
)

FOLDER = Path(__file__).parent
# The glossary's words, written out: the models are compared with them, not they with the models.
NAMES = """
    job.queued job.started job.progress job.retried job.suspended job.resumed job.succeeded job.failed job.cancelled
    job.skipped message.started message.delta message.completed thought.delta log.written tool.called tool.returned
    tool.failed usage.recorded approval.requested approval.granted approval.denied run.started run.succeeded run.failed
    run.cancelled
""".split()
OWN = "x.shop.invoice_paid"
RUN, JOB = UUID(int=1), UUID(int=2)


def golden(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def envelope(type: str = "job.started", *, job: UUID = RUN) -> Envelope:
    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Envelope(seq=1, run=RUN, job=job, tenant="acme", type=type, time=time, data={"attempt": 1})


def test_every_name_has_a_model_and_every_model_a_name():
    assert set(VOCABULARY) == set(NAMES)
    assert [kind for name, kind in VOCABULARY.items() if kind.model_fields["type"].default != name] == []


def test_every_type_has_a_golden_file_and_every_file_a_type():
    assert {file.stem for file in FOLDER.glob("*.json")} == {*NAMES, OWN, "envelope"}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_what_its_golden_file_says(name):
    event = build(name, VOCABULARY[name].example)

    assert {"type": event.type, "data": event.data()} == golden(name)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_survives_json(name):
    event = build(name, VOCABULARY[name].example)

    again = build(name, json.loads(json.dumps(event.data(), allow_nan=False)))

    assert again == event


def test_what_a_tool_without_a_result_returned_can_be_read_again():
    stored = build("tool.returned", {"call": "turn-1/tool-0", "name": "log", "content": None}).data()

    assert build("tool.returned", stored).data() == stored


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_can_still_be_read(name):
    """Fields may be added to a type; what was stored once is read for ever."""
    stored = golden(name)

    assert build(stored["type"], stored["data"]).data() == stored["data"]


@pytest.mark.parametrize("name", NAMES)
def test_an_event_refuses_fields_that_it_does_not_have(name):
    with pytest.raises(ValueError, match=f"event {name}: field colour"):
        build(name, {**VOCABULARY[name].example, "colour": "red"})


@pytest.mark.parametrize("name", NAMES)
def test_an_event_is_frozen_and_its_type_is_constant(name):
    event = build(name, VOCABULARY[name].example)

    with pytest.raises(ValidationError, match="frozen"):
        event.type = "job.queued"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        VOCABULARY[name](**{**VOCABULARY[name].example, "type": "x.y.z"})


@pytest.mark.parametrize("name", [name for name in NAMES if VOCABULARY[name].example])
def test_an_example_shows_something_that_the_type_needs(name):
    needed = {field for field, info in VOCABULARY[name].model_fields.items() if info.is_required()}

    assert needed <= set(VOCABULARY[name].example)


def test_an_unknown_type_is_refused_and_told_how_own_ones_are_called():
    with pytest.raises(ValueError, match=r"no event type 'job.done'; .* x\.<app>\.<name>"):
        build("job.done", {})


def test_a_wrong_value_is_refused_with_type_and_field():
    with pytest.raises(ValueError, match=r"event job.started: field attempt"):
        build("job.started", {"attempt": "first"})


# -- an application's own


def test_an_applications_own_event_carries_any_json():
    event = build(OWN, {"invoice": "A-17", "pages": [1, {"n": None}]})

    assert isinstance(event, CustomEvent)
    assert build(OWN, golden(OWN)["data"]).data() == golden(OWN)["data"]
    assert golden(OWN) == {"type": OWN, "data": CustomEvent.example}


def test_an_applications_own_event_keeps_its_nulls():
    assert build(OWN, {"paid_at": None}).data() == {"paid_at": None}


@pytest.mark.parametrize("name", ["x.shop", "x.Shop.paid", "shop.paid", "x..paid", "x.shop.paid!", "X.shop.paid"])
def test_a_name_that_is_not_x_app_name_is_refused(name):
    with pytest.raises(ValueError, match="no event type"):
        build(name, {})


# -- envelopes


def test_an_envelope_is_what_its_golden_file_says():
    assert envelope().model_dump(mode="json") == golden("envelope")
    assert Envelope.model_validate(golden("envelope")) == envelope()


def test_a_reader_ignores_what_a_later_version_adds_to_an_envelope():
    assert Envelope.model_validate({**golden("envelope"), "shard": 3}) == envelope()


@pytest.mark.parametrize("name", [*NAMES, OWN])
def test_only_the_roots_own_terminal_event_is_the_last_of_a_run(name):
    ends = name in TERMINAL_TYPES

    assert envelope(name).is_last == ends
    assert not envelope(name, job=JOB).is_last


def test_the_terminal_types_are_those_of_the_terminal_statuses():
    jobs = {f"job.{status}" for status in ("succeeded", "failed", "cancelled", "skipped")}
    runs = {f"run.{status}" for status in ("succeeded", "failed", "cancelled")}

    assert jobs | runs == TERMINAL_TYPES


def test_a_delta_has_a_message_and_a_text():
    assert {"message.delta", "thought.delta"} == DELTA_TYPES
    assert all({"message", "text"} <= set(VOCABULARY[name].model_fields) for name in DELTA_TYPES)


def test_the_schema_version_is_a_number_that_readers_know():
    assert SCHEMA_VERSION == 1
