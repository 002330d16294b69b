"""The native format: server-sent events for ``EventSource``.

One event is one frame: ``id:`` its number, ``event:`` its type, ``data:`` one line of JSON; LF only. Nothing that an
event holds can end a line: the data is JSON, ids and names lose CR, LF and NUL. A frame is made once for all followers
of its run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar
from uuid import UUID

from django_ais.events import Envelope
from django_ais.wire.format import one_line, retry
from django_ais.wire.showing import shown

KEPT_BYTES = 16 * 1024 * 1024  # of encoded frames in a process


class Native:
    """Server-sent events, for ``EventSource``. ``is_staff`` says that nothing is withheld."""

    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, is_staff: bool = False) -> None:
        self.is_staff = is_staff
        self.is_over = False

    def opening(self, after: int) -> bytes:
        """A comment with the number, and when to come back."""
        return f": after {after}\n".encode() + retry()

    def frame(self, envelope: Envelope) -> bytes:
        """One event."""
        document = shown(envelope, is_staff=self.is_staff)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        frame = f"id: {envelope.seq}\nevent: {one_line(envelope.type)}\ndata: {text}\n\n"
        return frame.encode("utf-8", "replace")

    def frames(self, envelopes: Sequence[Envelope]) -> bytes:
        """Several events in one piece; each is encoded once in this process."""
        self.is_over = envelopes[-1].is_last
        return b"".join([FRAMES.get(self, envelope) for envelope in envelopes])

    def data(self, envelope: Envelope) -> str:
        """The document of an event's frame, for a channel that frames by itself."""
        return FRAMES.get(self, envelope).partition(b"\ndata: ")[2].rstrip(b"\n").decode()

    def closing(self) -> bytes:
        """Come back soon, but not all at once."""
        return b"" if self.is_over else b": interrupted\n" + retry()


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
