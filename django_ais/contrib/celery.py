"""What ``celery -A django_ais.contrib.celery:ALIAS`` runs where the project names no Celery app of its own.

The attribute is an alias of ``QUEUES``; ``app`` stands for the first one that Celery carries. Importing this module
sets Django up.
"""

from __future__ import annotations

from typing import Any

import django

django.setup()

from django_ais import conf, registry  # noqa: E402 (needs Django set up)


def __getattr__(name: str) -> Any:
    aliases = conf.current().queues
    if name.startswith("__") or (name != "app" and name not in aliases):
        raise AttributeError(f"{name!r} is no alias of QUEUES. There are: {', '.join(sorted(aliases))}.")
    for alias in [name] if name in aliases else aliases:
        queue = registry.queues[alias]
        if (app := getattr(queue, "app", None)) is not None:
            queue.register_task()
            return app
    raise AttributeError(f"No queue is carried by Celery for {name!r}: see DJANGO_AIS['QUEUES'].")
