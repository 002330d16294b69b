"""Frames on a bus are signed: whoever can write to the broker can wake a reader up, and no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from django_ais.buses import BaseBus, Hint, decode
from django_ais.events import Envelope

RUN = UUID("01890000-0000-7000-8000-000000000001")
KEYS = [b"new key", b"old key"]
ENVELOPE = Envelope(
    seq=3, run=RUN, job=RUN, tenant="a", type="message.delta", time=datetime(2026, 1, 1, tzinfo=UTC), data={"text": "ä"}
)


class Kept(BaseBus):
    """Keeps what it is given."""

    def _publish(self, topic: str, frames: Sequence[bytes]) -> int:
        self.frames = list(frames)
        return len(frames)


def frame_of(keys: Sequence[bytes], topic: str = "t") -> bytes:
    bus = Kept(keys=keys)
    bus.publish(topic, [ENVELOPE])
    return bus.frames[0]


def test_a_signed_frame_is_the_event():
    """Given a frame signed with the present key or the one before it, when it is read, then it is the event."""
    for key in KEYS:
        assert decode("t", frame_of([key]), keys=KEYS) == Hint("t", RUN, 3, ENVELOPE)


@pytest.mark.parametrize(
    "frame",
    [
        frame_of([b"another key"]),
        frame_of([]),
        frame_of(KEYS, topic="of another run"),
        frame_of(KEYS).replace(b'"seq":3', b'"seq":4'),
        frame_of(KEYS).replace("ä".encode(), b"x"),
        b"0" * 32 + frame_of([]),
    ],
    ids=["key", "unsigned", "topic", "number", "text", "zeros"],
)
def test_a_frame_with_a_wrong_signature_only_wakes_up(frame):
    """Given a frame that somebody made, moved or changed, when it is read, then only its number is left."""
    hint = decode("t", frame, keys=KEYS)

    assert hint is not None
    assert (hint.run, hint.envelope) == (RUN, None)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[]",
        b"x" * 40,
        b'{"run": 1, "seq": 2}',
        json.dumps({"run": str(RUN), "seq": "x"}).encode(),
        b'{"run": "%s", "seq": 1e999}' % str(RUN).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_frame_is_ignored(frame: Any):
    """Given bytes that are no frame of ours, when they are read, then there is nothing, and no error."""
    assert decode("t", frame, keys=KEYS) is None


def test_a_large_event_travels_as_its_number():
    """Given an event larger than a frame may be, when it is published, then the frame is a reference."""

    class Small(Kept):
        max_inline_bytes = 100

    bus = Small(keys=KEYS)
    bus.publish("t", [ENVELOPE])

    assert decode("t", bus.frames[0], keys=KEYS) == Hint("t", RUN, 3)
