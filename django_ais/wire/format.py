"""What a format is, and what all formats share: lines that end in LF, a keepalive that is a comment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from django_ais import jitter
from django_ais.events import Envelope

CONTENT_TYPE = "text/event-stream; charset=utf-8"
KEEPALIVE = b": keepalive\n\n"  # a comment: the clients of AG-UI and Vercel take anything else for an event of theirs
RETRY_MS = (2_000, 5_000)  # when a client comes back, at random so that they do not all come together
INTERRUPTED = "stream_interrupted"  # the stream ended and its run did not: the client may join it again


class Format(Protocol):
    """How one stream is told. An object belongs to one stream and may remember what it has said."""

    headers: ClassVar[Mapping[str, str]]
    is_over: bool  # nothing may follow

    def opening(self, after: int) -> bytes:
        """What a stream begins with: some clients are open only once a byte has come."""
        ...

    def frames(self, envelopes: Sequence[Envelope]) -> bytes:
        """The next events in whole frames; empty if they say nothing."""
        ...

    def closing(self) -> bytes:
        """What goes before an end that is not the run's; nothing once ``is_over``."""
        ...


def retry() -> bytes:
    """When to come back, in this client's case."""
    return f"retry: {jitter.between(*RETRY_MS):.0f}\n\n".encode()


def one_line(text: str) -> str:
    """A text that cannot end its line."""
    return text.replace("\r", "").replace("\n", "").replace("\0", "")


def data_frame(document: Mapping[str, Any]) -> bytes:
    """A frame that is one line of JSON and nothing else."""
    return b"data: " + compact(document).encode("utf-8", "replace") + b"\n\n"


def compact(value: Any) -> str:
    """JSON without spaces; characters beyond ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
