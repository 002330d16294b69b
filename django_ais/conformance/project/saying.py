"""``python -m django_ais.conformance.project.saying KIND``: what the driver `default` says of itself, as JSON.

Asked in a process with Django's settings, since a driver may say it of the broker or the backend that it is given.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

from django_ais.conformance.profile import BusProfile, QueueProfile, capabilities

CONCURRENCIES = (1, 3)


def main(kind: str) -> None:
    """Print its flags; of a queue also its command line for a worker process of each size."""
    django.setup()
    from django_ais import registry

    said: dict[str, Any] = {}
    if kind == "bus":
        said["capabilities"] = capabilities(registry.buses["default"], BusProfile)
    else:
        queue = registry.queues["default"]
        said["capabilities"] = capabilities(queue, QueueProfile)
        said["worker_commands"] = [queue.worker_command(concurrency=number) for number in CONCURRENCIES]
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
