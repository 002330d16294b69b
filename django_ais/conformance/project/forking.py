"""``python -m django_ais.conformance.project.forking BEFORE CHILD PARENT``: three job ids, sent from around a fork.

The first is sent before the fork, the second by the child, the third by the parent after it. A driver whose jobs run
in the process that sends stays until they were handled.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import django

from django_ais.conformance import ledger
from django_ais.conformance.waiting import until
from django_ais.queues import QueueMessage

if TYPE_CHECKING:
    from django_ais.queues import BaseQueue

SECONDS = 20.0


def main(before: str, child: str, parent: str) -> int:
    """Send, fork, send. The child uses the instance that it inherited, as a forked worker process of an engine does."""
    django.setup()
    from django.db import connections

    from django_ais import registry

    queue = registry.queues["default"]
    send(queue, before)
    connections.close_all()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            queue.after_fork()
            send(queue, child)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    send(queue, parent)
    queue.close()
    return os.waitstatus_to_exitcode(status)


def send(queue: BaseQueue, job_id: str) -> None:
    """Send one message; where the job runs here, wait until it was handled."""
    queue.enqueue([QueueMessage(job_id=job_id, dispatch_id=f"{job_id}-fork")], timeout=5.0)
    if queue.is_embedded:
        book = ledger.here()
        until(lambda: book.lines("returned", job=job_id), what=f"job {job_id} to be handled", seconds=SECONDS)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
