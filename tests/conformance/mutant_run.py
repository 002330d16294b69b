"""``python -m tests.conformance.mutant_run FILE``: try every mutant and every honest driver, write what came of it.

One process for all, in the suite's own project: a mutant costs what its requirement's tests cost.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_ais.conformance.bench import Bench
from django_ais.conformance.bus_bench import BusBench
from django_ais.conformance.manifest import BY_ID, requirement_of
from django_ais.conformance.site import Site
from django_ais.conformance.workbench import Workbench
from tests.conformance import bus_mutants
from tests.conformance.bus_mutants import BUS_MUTANTS, bus_profile_of
from tests.conformance.honest import Door, Folder, Memory, Plain, Spool, profile_of
from tests.conformance.mutants import MUTANTS

MODULES = {
    "queue": ("test_enqueue", "test_delivery", "test_capabilities", "test_process"),
    "bus": ("test_publish", "test_listen", "test_link"),
}
HONEST = (Memory, Plain, Door, Folder, Spool, *bus_mutants.HONEST)
TRIED_ELSEWHERE = (Memory, Spool, bus_mutants.Memory, bus_mutants.Relay)  # by the whole suite
PATIENCE, PATIENCE_WITH_PROCESSES = 2.0, 9.0  # seconds


def tests_of(id: str) -> Iterator[Callable[[Workbench], Any]]:
    """The tests of a requirement."""
    kind = BY_ID[id].kind
    for name in MODULES[kind]:
        module = importlib.import_module(f"django_ais.conformance.{kind}_suite.{name}")
        yield from (test for test in vars(module).values() if requirement_of(test, kind) == id)


def bench_of(site: Site, id: str, driver: type[Any]) -> Workbench:
    """The workbench of a driver, which waits no longer than a test of mutants can afford."""
    if BY_ID[id].kind == "bus":
        bench: Workbench = BusBench(bus_profile_of(driver), site)
        bench.patience = PATIENCE
    else:
        bench = Bench(profile_of(driver), site)
        bench.patience = PATIENCE if driver.is_embedded else PATIENCE_WITH_PROCESSES
    return bench


def trial(site: Site, id: str, driver: type[Any]) -> dict[str, Any]:
    """What the tests of a requirement say of a driver."""
    started, before = time.monotonic(), len(site.ledger.lines("broken"))
    error: BaseException | None = None
    try:
        with bench_of(site, id, driver) as bench:
            try:
                for test in tests_of(id):
                    said = test(bench)
                    if inspect.iscoroutine(said):
                        asyncio.run(said)
            except (Exception, pytest.fail.Exception) as caught:  # noqa: BLE001 - told to the test, which judges it
                error = caught
    except Exception as caught:  # noqa: BLE001 - a driver may be broken in its close() too: what a test found comes first
        error = error or caught
    return {
        "requirement": id,
        "driver": driver.__name__,
        "error": type(error).__name__ if error else None,
        "is_assertion": isinstance(error, AssertionError | pytest.fail.Exception),
        "message": str(error),
        "ran": len(site.ledger.lines("broken")) > before,
        "seconds": round(time.monotonic() - started, 2),
    }


def honest(mutant: type[Any]) -> type[Any]:
    """What a mutant was made from."""
    return next(kind for kind in mutant.__mro__ if kind in HONEST)


def main(file: str) -> int:
    tried = [*MUTANTS, *BUS_MUTANTS]
    bases = {(id, honest(mutant)) for id, mutant in tried}
    controls = [pair for pair in sorted(bases, key=str) if pair[1] not in TRIED_ELSEWHERE]
    with Site("sqlite") as site:
        found = {
            "mutants": [trial(site, id, mutant) for id, mutant in tried],
            "controls": [trial(site, id, driver) for id, driver in controls],
        }
    Path(file).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
