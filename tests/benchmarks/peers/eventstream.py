"""django-eventstream under uvicorn, a server in a process of its own.

``AIS_BENCH_STORAGE=1`` keeps the events in its model on PostgreSQL (and so may read again what it dropped); without it
nothing is kept. `send_event` is called in the server's process, as its documentation has it; without ``AIS_BENCH_GATE``
by `eventstream_speaker` in another, through the Redis of ``AIS_BENCH_EVENTSTREAM_REDIS``.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import os
import threading

import django

django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402 (Django first)
from django.core.management import call_command  # noqa: E402
from django.urls import include, path  # noqa: E402

from tests.benchmarks.peers import serving  # noqa: E402
from tests.benchmarks.peers.eventstream_speaker import say  # noqa: E402
from tests.benchmarks.streaming.speech import speak  # noqa: E402

urlpatterns = [path("events", include("django_eventstream.urls"), {"channels": ["bench"]})]

serving.address("peer_eventstream")
call_command("migrate", verbosity=0)
if gate := os.environ["AIS_BENCH_GATE"]:
    threading.Thread(target=speak, args=(gate, say), daemon=True).start()
application = get_asgi_application()
