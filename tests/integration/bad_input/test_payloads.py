"""Payloads that cannot be kept: the error names the place in them and the mend, and nothing is written."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from django_ais import jobs
from django_ais.exceptions import (
    DispatchError,
    InvalidPayloadError,
)
from tests.harness.wording import words

pytestmark = pytest.mark.django_db


def nested(depth: int) -> Any:
    value: Any = "inside"
    for _ in range(depth):
        value = [value]
    return value


def circle() -> Any:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


class Invoice(BaseModel):
    total: int


NOT_JSON = {
    "a datetime": (
        {"due": datetime.datetime.now(datetime.UTC)},
        words("payload.due", "datetime", "not JSON", "pass text"),
    ),
    "an object": ({"list": [1, object()]}, words("payload.list[1]", "object", "not JSON")),
    "bytes": (b"scan", words("payload is", "bytes", "not JSON")),
    "a set": ({"tags": {"new"}}, words("payload.tags", "set", "not JSON", "lists")),
    "a model inside": ({"invoice": Invoice(total=3)}, words("payload.invoice", "Invoice", "not JSON")),
    "NaN": ({"rate": float("nan")}, words("payload.rate", "nan", "JSON has not", "pass None")),
    "infinity": ([float("-inf")], words("payload[0]", "-inf", "JSON has not")),
    "a key that is no text": ({"pages": {1: "first"}}, words("payload.pages", "the key 1", "text keys")),
    "deep nesting": (nested(100_000), words("payload[0]", "nested deeper than 64")),
    "a circle": (circle(), words("payload.again", "nested deeper than 64")),
    "a huge number": ({"count": 10**5_000}, words("payload.count", "4,000 digits", "pass text")),
    "NUL": ({"text": "a\0b"}, words("payload.text", "NUL", "remove it")),
    "NUL in a key": ({"a\0b": 1}, words("a key of payload", "NUL")),
    "a lone surrogate": ({"text": ["\ud800"]}, words("payload.text[0]", "lone surrogate", "decode", "UTF-8")),
    "10 MB": (
        {"text": "x" * 10_000_000},
        words("payload has 10,000,011 bytes", "1,048,576", "MAX_PAYLOAD_BYTES", "Store the content elsewhere"),
    ),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_a_payload_that_no_database_could_keep_is_refused(case, nothing_written):
    """Given such a payload, when dispatched, then the error names the place in it and what to pass instead."""
    payload, message = NOT_JSON[case]

    with pytest.raises(InvalidPayloadError, match=message):
        jobs.dispatch("echo", payload)


def test_one_bad_payload_of_many_keeps_all_of_them_out(nothing_written):
    """Given a bad payload among good ones, when dispatched together, then the error counts it out and none exists."""
    with pytest.raises(InvalidPayloadError, match=words("payloads[2]", "object", "not JSON")):
        jobs.dispatch_many("echo", [1, 2, object(), 4])


@pytest.mark.parametrize("payloads", ["abc", {"a": 1}, 5, None])
def test_payloads_that_are_no_list_are_refused(payloads, nothing_written):
    """Given one payload where many are wanted, when dispatched, then nothing takes its letters or keys for payloads."""
    with pytest.raises(DispatchError, match=words("payloads must be a list", type(payloads).__name__)):
        jobs.dispatch_many("echo", payloads)


def test_what_json_has_is_kept_unchanged(settings):
    """The other side: given all that JSON has, when dispatched, then the job holds exactly that."""
    payload = {"": None, "ü": [True, -1, 2**53, 10**300, 0.1, {}], "deep": nested(60)}

    job = jobs.dispatch("echo", payload)

    assert jobs.get(job).payload == payload
