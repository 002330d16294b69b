"""What a client may see of an event, in every format alike."""

from __future__ import annotations

from typing import Any

from django_ais.events import Envelope
from django_ais.exceptions import GatewayError

# Errors whose texts are ours or the gateway's safe ones. Any other may quote whatever an application's error quotes.
SAFE_CODES = frozenset(GatewayError.RETRYABLE) | {
    "queue_timeout", "attempt_timeout", "job_timeout", "worker_crashed", "cancelled"
}  # fmt: skip
WITHHELD = {"tool.called": "arguments", "tool.returned": "content"}


def shown_error(document: dict[str, Any], *, is_staff: bool) -> dict[str, Any]:
    """An error as a browser may see it: the code, and its text where that is safe. Never the class."""
    shown = {key: value for key, value in document.items() if key != "type" or is_staff}
    if not is_staff and "message" in shown and shown.get("code") not in SAFE_CODES:
        shown["message"] = "It failed; the text is for staff."
    return shown


def shown_data(envelope: Envelope, *, is_staff: bool) -> dict[str, Any]:
    """An event's data as a client gets it."""
    if is_staff:
        return envelope.data
    withheld = WITHHELD.get(envelope.type)
    data = {key: value for key, value in envelope.data.items() if key != withheld}
    if "code" in data and not envelope.type.startswith("x."):
        data = shown_error(data, is_staff=False)
    return data


def shown(envelope: Envelope, *, is_staff: bool = False) -> dict[str, Any]:
    """An event as a client gets it, with its place in the run."""
    return {
        "seq": envelope.seq,
        "run": str(envelope.run),
        "job": str(envelope.job),
        "type": envelope.type,
        "time": envelope.time.isoformat(),
        "data": shown_data(envelope, is_staff=is_staff),
    }
