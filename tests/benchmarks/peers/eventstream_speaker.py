"""What django-eventstream is to say; as a program, ``eventstream_speaker GATE``, the process that says it."""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import sys
import threading

RUN = "019ac000-0000-7000-8000-000000000000"


def say(number: int, text: str) -> None:
    """As much as one of our frames holds."""
    from django_eventstream import send_event

    data = {"message": f"m{number}", "text": text}
    when = "2026-01-01T00:00:00.000000+00:00"
    event = {"data": data, "job": RUN, "run": RUN, "seq": number, "time": when, "type": "message.delta"}
    send_event("bench", "message.delta", event, async_publish=False)


if __name__ == "__main__":
    import django

    django.setup()
    from tests.benchmarks.peers import serving
    from tests.benchmarks.streaming.speech import speak

    threading.Thread(target=speak, args=(sys.argv[1], say), daemon=True).start()
    serving.serve()
