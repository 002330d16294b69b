"""Formats of a stream: envelopes in, bytes out. This one is native server-sent events.

One event is one frame: ``id:`` its number, ``event:`` its type, ``data:`` one line of JSON; LF only. Nothing that an
event holds can end a line: the data is JSON, ids and names lose CR, LF and NUL. A frame is made once for all followers
of its run.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django_ais.events import Envelope
from django_ais.exceptions import GatewayError

CONTENT_TYPE = "text/event-stream; charset=utf-8"
KEEPALIVE = b": keepalive\n\n"
RETRY_MS = (2_000, 5_000)  # when a client comes back, at random so that they do not all come together
KEPT_BYTES = 16 * 1024 * 1024  # of encoded frames in a process

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


def shown(envelope: Envelope, *, is_staff: bool = False) -> dict[str, Any]:
    """An event as a client gets it, in every format alike."""
    data = envelope.data
    if not is_staff:
        withheld = WITHHELD.get(envelope.type)
        data = {key: value for key, value in data.items() if key != withheld}
        if "code" in data and not envelope.type.startswith("x."):
            data = shown_error(data, is_staff=False)
    return {
        "seq": envelope.seq,
        "run": str(envelope.run),
        "job": str(envelope.job),
        "type": envelope.type,
        "time": envelope.time.isoformat(),
        "data": data,
    }


class Native:
    """Server-sent events, for ``EventSource``. ``is_staff`` says that nothing is withheld."""

    def __init__(self, *, is_staff: bool = False) -> None:
        self.is_staff = is_staff

    def opening(self, after: int) -> bytes:
        """What a stream begins with: some clients are open only once a byte has come."""
        return f": after {after}\n".encode() + retry()

    def frame(self, envelope: Envelope) -> bytes:
        """One event."""
        document = shown(envelope, is_staff=self.is_staff)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        frame = f"id: {envelope.seq}\nevent: {one_line(envelope.type)}\ndata: {text}\n\n"
        return frame.encode("utf-8", "replace")

    def frames(self, envelopes: Iterable[Envelope]) -> bytes:
        """Several events in one piece; each is encoded once in this process."""
        return b"".join([FRAMES.get(self, envelope) for envelope in envelopes])

    def closing(self) -> bytes:
        """What goes before an end that is not the run's: come back soon, but not all at once."""
        return b": interrupted\n" + retry()


class Frames:
    """The encoded frames of this process, the newest of them. May be used from any thread."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._frames: dict[tuple[int, UUID, bool], bytes] = {}
        self._bytes = 0

    def get(self, form: Native, envelope: Envelope) -> bytes:
        """The frame of an event in a format."""
        key = (envelope.seq, envelope.run, form.is_staff)
        found = self._frames.get(key)
        if found is None:
            found = self._frames[key] = form.frame(envelope)
            self._bytes += len(found)
            while self._bytes > self._most and self._frames:
                self._drop_oldest()
        return found

    def _drop_oldest(self) -> None:
        try:
            self._bytes -= len(self._frames.pop(next(iter(self._frames))))
        except (KeyError, RuntimeError, StopIteration):  # another thread was quicker
            return


FRAMES = Frames(KEPT_BYTES)


def retry() -> bytes:
    """When to come back, in this client's case."""
    return f"retry: {random.randint(*RETRY_MS)}\n\n".encode()  # noqa: S311 (jitter)


def one_line(text: str) -> str:
    """A text that cannot end its line."""
    return text.replace("\r", "").replace("\n", "").replace("\0", "")
