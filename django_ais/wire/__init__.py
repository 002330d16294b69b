"""Formats of a stream: envelopes in, bytes out.

`Native` is for ``EventSource``, `AgUi` and `Vercel` are for front ends that exist: they fold a run into what was said
(`transcript`) and tell it in their protocol's words. What a client may see (`shown`) is one for all.
"""

from django_ais.wire.agui import AgUi
from django_ais.wire.format import CONTENT_TYPE, INTERRUPTED, KEEPALIVE, Format, one_line, retry
from django_ais.wire.native import Native
from django_ais.wire.showing import shown, shown_error
from django_ais.wire.vercel import Vercel

__all__ = [
    "CONTENT_TYPE",
    "INTERRUPTED",
    "KEEPALIVE",
    "AgUi",
    "Format",
    "Native",
    "Vercel",
    "one_line",
    "retry",
    "shown",
    "shown_error",
]
