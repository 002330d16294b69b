"""What travels on a bus: signed events, references to rows, and the news that a link was down."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django_ais.events import Envelope

logger = logging.getLogger("django_ais.bus")

SIGNATURE_BYTES = 16  # of an HMAC-SHA256; written in hexadecimal before the frame's JSON


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The link was down: anything may have been missed."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something was committed: the event itself, or only its number (``envelope`` is None: read the row)."""

    topic: str
    run: UUID
    seq: int
    envelope: Envelope | None = None


def sign(key: bytes, topic: str, frame: bytes) -> bytes:
    """The signature that goes before a frame."""
    return hmac.digest(key, topic.encode() + b"\0" + frame, "sha256")[:SIGNATURE_BYTES].hex().encode()


def decode(topic: str, frame: bytes, *, keys: Sequence[bytes] = ()) -> Hint | None:
    """What a frame says; None if it is not one of ours. Of one whose signature is missing or wrong, the number alone:
    it wakes the reader up.
    """
    signature, body = _parts(frame)
    try:
        document = json.loads(body)
        run, seq = UUID(document["run"]), int(document["seq"])
        if "type" not in document or not _is_signed(keys, topic, signature, body):
            return Hint(topic, run, seq)
        return Hint(topic, run, seq, Envelope.model_validate(document))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        logger.warning("a frame on topic %s is not one of ours", topic)
        return None


def _parts(frame: bytes) -> tuple[bytes, bytes]:
    if frame[:1] == b"{":
        return b"", frame
    return frame[: 2 * SIGNATURE_BYTES], frame[2 * SIGNATURE_BYTES :]


def _is_signed(keys: Sequence[bytes], topic: str, signature: bytes, body: bytes) -> bool:
    return not keys or any(hmac.compare_digest(sign(key, topic, body), signature) for key in keys)
