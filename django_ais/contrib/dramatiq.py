"""For dramatiq's command line: ``dramatiq django_ais.contrib.dramatiq`` runs jobs; ``...:ALIAS`` those of one queue.

Each worker process imports this module; the process that starts them does not, and never touches the database. Without
an alias the broker is that of the first queue of ``QUEUES`` that uses dramatiq. An error here ends the process before
it takes a message.
"""

from __future__ import annotations

from typing import Any

import django

django.setup()

from django_ais import conf, registry  # noqa: E402 (they need Django set up)
from django_ais.exceptions import ConfigurationError  # noqa: E402
from django_ais.runtime.host import refuse_green_threads  # noqa: E402


def install() -> None:
    """Register each dramatiq queue's actor, and set the broker of the first. Raises `ConfigurationError` if there is
    none, or in a process that is patched by gevent.
    """
    refuse_green_threads()
    queues: list[Any] = [registry.queues[alias] for alias in conf.current().queues]
    queues = [queue for queue in queues if hasattr(queue, "install")]
    if not queues:
        raise ConfigurationError(
            "No queue of DJANGO_AIS['QUEUES'] uses dramatiq. Add for example {'default': {'BACKEND': 'dramatiq'}}."
        )
    for queue in queues:
        queue.register_task()
    queues[0].install()


def __getattr__(alias: str) -> Any:
    """The broker of a queue: what dramatiq looks for after the colon."""
    if alias.startswith("__") or alias not in conf.current().queues:
        raise AttributeError(f"DJANGO_AIS['QUEUES'] has no alias {alias!r}")
    return registry.queues[alias].broker  # type: ignore[attr-defined]


install()
