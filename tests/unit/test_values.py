"""What may be stored, and what is done to what must not fail."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from django_ais.exceptions import InvalidPayloadError
from django_ais.values import canonical, ensure_json, fingerprint, sanitised, shortened

LIMIT = 1_000


class Page(BaseModel):
    number: int
    text: str


def refused(value) -> str:
    with pytest.raises(InvalidPayloadError) as caught:
        ensure_json(value, what="payload", limit=LIMIT)
    return str(caught.value)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**70, 1.5, "", "ä \U0001f600", [], {}, {"a": [1, {"b": None}]}, ["x", [["y"]]]],
)
def test_json_passes_unchanged(value):
    assert ensure_json(value, what="payload", limit=LIMIT) == value


def test_a_pydantic_model_becomes_its_json():
    assert ensure_json(Page(number=3, text="x"), what="payload", limit=LIMIT) == {"number": 3, "text": "x"}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"pages": [1, {"text": object()}]}, "payload.pages[1].text is a object"),
        ({"when": b"x"}, "payload.when is a bytes"),
        ({"pages": {1: "x"}}, "payload.pages has the key 1"),
        ({"x": float("nan")}, "payload.x is nan"),
        ([float("inf")], "payload[0] is inf"),
        ({"x": {1, 2}}, "payload.x is a set"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(value, place):
    assert place in refused(value)


@pytest.mark.parametrize(
    ("text", "word"), [("a\0b", "NUL"), ("a\ud800b", "lone surrogate"), ("\udfff", "lone surrogate")]
)
def test_text_that_cannot_be_stored_is_refused_in_values_and_keys(text, word):
    assert f"payload.title holds a {word}" in refused({"title": text})
    assert f"a key of payload holds a {word}" in refused({text: 1})


def test_a_value_over_the_limit_is_refused_with_both_numbers():
    told = refused("x" * LIMIT)

    assert "1,002 bytes" in told
    assert "1,000" in told
    assert "MAX_PAYLOAD_BYTES" in told


def test_the_limit_counts_bytes_and_not_characters():
    assert ensure_json("x" * 998, what="payload", limit=LIMIT)
    refused("ä" * 600)


def test_depth_is_limited():
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]

    assert "nested deeper" in refused(deep)


def test_a_value_that_holds_itself_is_refused():
    knot: list[object] = []
    knot.append(knot)

    assert "nested deeper" in refused(knot)


# -- what must not fail


def test_sanitised_replaces_what_databases_cannot_store():
    dirty = {"a\0": ["x\ud800y", float("nan"), float("inf"), 1.5, ("t\0",)], 7: None}

    clean = sanitised(dirty)

    assert clean == {"a\ufffd": ["x\ufffdy", None, None, 1.5, ["t\ufffd"]], "7": None}
    json.dumps(clean, allow_nan=False).encode()


def test_small_data_is_not_shortened():
    data = {"text": "x" * 10, "n": 1}

    assert shortened(data, limit=100) is data


def test_shortened_cuts_the_largest_text_and_says_so():
    cut = shortened({"name": "lookup", "text": "ä" * 500}, limit=200)

    assert cut["name"] == "lookup"
    assert cut["text"].endswith(" …")
    assert len(json.dumps(cut, ensure_ascii=False).encode()) <= 200


def test_shortened_replaces_what_is_not_text_by_its_size():
    cut = shortened({"content": list(range(1_000))}, limit=200)

    assert cut["content"]["truncated_bytes"] > 1_000


# -- fingerprints


def test_the_order_of_keys_makes_no_difference():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})


@pytest.mark.parametrize(("one", "other"), [({"a": 1}, {"a": 2}), ([1, 2], [2, 1]), ("1", 1), (None, "null")])
def test_other_values_have_other_fingerprints(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_the_fingerprint_of_a_value_never_changes():
    """It is recorded with steps and compared by later versions."""
    assert canonical({"b": [1, None], "a": "ä"}) == '{"a":"ä","b":[1,null]}'
    assert fingerprint(None) == "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"
