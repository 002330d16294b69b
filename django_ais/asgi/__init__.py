"""Serve streams beside the project's own application: ``application(get_asgi_application())``.

Django holds a thread for each open response (and a database connection, if anything queried first); a stream here is a
task. It is guarded all the same: each request goes once through the wrapped application, with all its middleware and
its URLconf, where a view of ours leaves a `Grant` in the request's scope. Only a grant starts a stream; every other
answer is the wrapped application's, unchanged. Requests for streams that are there take turns inside of Django, a few
at a time: when a server has been restarted, all clients come back at once.

Lifespan is handled here: at shutdown, and already at the server's SIGTERM, streams end spread over
``STREAM_DRAIN_SECONDS``. uvicorn waits for them only as long as ``--timeout-graceful-shutdown`` says, or for ever.
"""

from __future__ import annotations

from typing import Any


def application(django_app: Any) -> Any:
    """Wrap the project's ASGI application: ``get_asgi_application()``, with whatever is around it.

    The import of this module needs no Django that is set up, so that it may stand at the top of an ``asgi.py``.
    """
    from django_ais.asgi.wrapper import wrap

    return wrap(django_app)
