"""``python -m django_ais.conformance.project.announcing [--fork] RUN ...``: announce the last event of each run.

RUN is JSON: a run's id and its tenant. With ``--fork`` the second is announced by a child that has the parent's driver,
as a forked worker process of an engine does.
"""

from __future__ import annotations

import json
import os
import sys
from uuid import UUID

import django


def main(runs: list[tuple[UUID, str]], *, fork: bool) -> int:
    """Announce; return the child's exit code."""
    django.setup()
    code = 0
    for place, (run, tenant) in enumerate(runs):
        if fork and place == 1:
            code = in_a_child(run, tenant)
        else:
            announce(run, tenant)
    return code


def in_a_child(run: UUID, tenant: str) -> int:
    """Fork, and announce there with the instance that was inherited."""
    from django.db import connections

    from django_ais import registry

    inherited = registry.buses["default"]
    connections.close_all()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            with registry.buses.override("default", inherited):
                announce(run, tenant)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def announce(run: UUID, tenant: str) -> None:
    """The run's last event, from its row. Raises RuntimeError if the bus did not take it."""
    from django_ais import registry, tenancy
    from django_ais.models import JobCounters
    from django_ais.runtime import reading

    last: int = JobCounters.objects.get(job_id=run).last_seq
    bus = registry.buses["default"]
    if bus.publish(tenancy.topic(tenant, run), reading.page(run, tenant, last - 1)) != 1:
        raise RuntimeError("the bus did not take the event")


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--fork"]
    given = [(UUID(run), tenant) for run, tenant in map(json.loads, words)]
    sys.exit(main(given, fork="--fork" in sys.argv))
