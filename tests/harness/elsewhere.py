"""What a test does in a database that is not its own: in a child process, with that database's environment.

``python -m tests.harness.elsewhere VERB [ARGUMENT]`` answers in JSON:
``prepare`` makes the tables, ``dispatch COUNT`` creates watched jobs and answers their ids, ``check COUNT`` raises
unless so many of them are there and healed, and answers the executions above one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django


def prepare() -> None:
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)


def dispatch(count: str) -> list[str]:
    from django_ais import jobs

    return [
        str(job.id) for job in jobs.dispatch_many("crash", [{"children": place % 3} for place in range(int(count))])
    ]


def check(count: str) -> int:
    from django_ais.models import JobPacket
    from tests.harness import ledger
    from tests.harness.invariants import assert_healed

    roots = JobPacket.objects.roots().values_list("id", flat=True)
    assert len(roots) == int(count), f"{count} jobs were accepted, {len(roots)} are there"
    return assert_healed(ledger.here(), dict.fromkeys(roots, "succeeded"))


VERBS: dict[str, Any] = {"prepare": prepare, "dispatch": dispatch, "check": check}

if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(VERBS[sys.argv[1]](*sys.argv[2:])))
