"""A process that runs jobs: how it begins, how it stops. `host` is the `queues.Host` that drivers are given."""

from __future__ import annotations

import logging
import sys
import time

from django.db import DatabaseError

from django_ais import conf
from django_ais.exceptions import ConfigurationError, LeaseLost
from django_ais.runtime import flushing, lifecycle, links, reading, relay
from django_ais.runtime.leases import Lease, keeper
from django_ais.runtime.occupancy import occupancy
from django_ais.runtime.source import due_jobs

logger = logging.getLogger("django_ais.runner")


class ProcessHost:
    """This process, as drivers see it."""

    def start(self) -> None:
        """Begin to sweep. Raises `ConfigurationError` in a process that cannot run jobs."""
        refuse_green_threads()
        relay.sweeper.start()

    def drain(self, seconds: float | None = None) -> int:
        """Claim nothing more, wait for this process's jobs, then give the rest back without an attempt; return how
        many.

        ``seconds`` bounds the waiting. A job that cannot be given back is found by a sweep when its lease has run out.
        """
        seconds = conf.current().drain_seconds if seconds is None else seconds
        end = time.monotonic() + seconds
        occupancy.refuse()
        given_back = due_jobs.give_back()
        relay.sweeper.stop(timeout=seconds)
        if not occupancy.wait_until_empty(max(end - time.monotonic(), 0.0)):
            given_back += sum(_give_back(lease) for lease in keeper().held())
        return given_back

    def stop(self) -> None:
        """End this process's threads and close their connections; the next job starts them again."""
        relay.sweeper.stop()
        keeper().stop()
        flushing.flusher().stop()
        due_jobs.close()
        reading.stop_readers()
        links.close_kept()
        occupancy.reopen()


def _give_back(lease: Lease) -> bool:
    lease.end(LeaseLost("this worker process is stopping"))
    try:
        return lifecycle.release(lease)
    except DatabaseError:
        logger.warning("job %s could not be given back; its lease will run out", lease.job_id, exc_info=True)
        return False


def refuse_green_threads() -> None:
    """Raise `ConfigurationError` in a process that gevent or eventlet has patched: an ORM call beside a running event
    loop fails there.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    for name, is_patched in (
        ("gevent", gevent is not None and gevent.is_module_patched("threading")),
        ("eventlet", eventlet is not None and eventlet.is_monkey_patched("thread")),
    ):
        if is_patched:
            raise ConfigurationError(
                f"This process is patched by {name}, where every database call beside an event loop fails. "
                f"Start the worker process without {name}: with processes or threads."
            )


host = ProcessHost()
