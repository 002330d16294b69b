"""``python -m tests.conformance.fault_run FILE PROFILE TEST``: put one profile to one test, write what came of it.

``TEST`` is a requirement of the suite, or ``module:function``. Afterwards a fresh job shows that the system still
works, so that what is open then is lost, and the suite's invariants are asked what they find.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from django_ais.conformance import crew
from django_ais.conformance.bench import Bench
from django_ais.conformance.crew import Crew
from django_ais.conformance.profile import load_profile
from django_ais.conformance.queue_suite import test_process
from django_ais.conformance.site import Site
from django_ais.conformance.waiting import until
from tests.conformance.mutant_run import tests_of

SIZE = 2  # worker processes, of two slots each: enough that somebody else is there
QUIET = 2.5  # seconds without a word in the ledger, after which nothing more is expected
PATIENCE = 6.0  # seconds, of which a test adds a part to what it waits for in vain
LONGEST = 60.0  # seconds for what must happen, on a busy machine
ENDS = ["returned", "raised"]


class Blinded(Bench):
    """Keeps the settings that the profile blinds the core with, whatever the suite's tests want.

    Patient with worker processes that start slowly, and not with what is not to come.
    """

    def configure(self, **changes: Any) -> None:
        super().configure(**{**changes, **getattr(self.profile, "blinded", {})})
        self.patience = PATIENCE

    def until(self, question: Callable[[], object], *, what: str) -> None:
        until(question, what=what, seconds=LONGEST)


class Impatient(Crew):
    """Gives up when a job that was sent last has gone through and nothing has happened since, not after minutes."""

    def until(self, question: Callable[[], Any], *, what: str, seconds: float = LONGEST) -> None:
        ledger = self.bench.ledger
        (last,) = self.bench.ring()
        told, since = 0, time.monotonic()

        def ask() -> Any:
            nonlocal told, since
            if len(ledger.lines()) != told or not ledger.lines("returned", job=last):
                told, since = len(ledger.lines()), time.monotonic()
            if time.monotonic() - since > QUIET:
                raise AssertionError(f"nothing happens any more: waited in vain for {what}")
            return question()

        super().until(ask, what=what, seconds=seconds)


def found(tests: Iterable[Callable[[Bench], None]], bench: Bench) -> dict[str, Any]:
    """What the tests say."""
    error: BaseException | None = None
    try:
        with patch.object(test_process, "Crew", Impatient):
            for test in tests:
                test(bench)
    except (Exception, pytest.fail.Exception) as caught:  # noqa: BLE001 - told to the test, which judges it
        error = caught
    return {
        "error": type(error).__name__ if error else None,
        "is_assertion": isinstance(error, AssertionError | pytest.fail.Exception),
        "message": str(error),
        "broken": len(bench.ledger.lines("broken")),
    }


def aftermath(bench: Bench) -> dict[str, Any]:
    """What is left once a fresh job has gone through: whatever was sent before it and is open then, is lost."""
    from django_ais.models import JobPacket

    work = [str(id) for id in JobPacket.objects.filter(type="conformance.work").values_list("id", flat=True)]
    (fresh,) = bench.ring()
    try:
        bench.until(lambda: bench.status(fresh) == "succeeded", what="a fresh job to end")
    except AssertionError:
        sys.stderr.write("\n".join(worker.log for worker in bench.workers))
        raise

    lost = {str(id) for id in JobPacket.objects.open().values_list("id", flat=True)}
    handed, ended, effects = (Counter(jobs_of(bench, *words)) for words in (["handed"], ENDS, ["effect"]))
    return {
        "jobs": JobPacket.objects.count() - 1,
        "lost": len(lost),
        "lost_begun": len(lost & set(handed) - set(ended)),
        "lost_unseen": len(lost - set(handed)),
        "handed_again": more_than_once(handed),
        "effects_twice": more_than_once(effects),
        "violations": Counter(sentence.partition(":")[0] for sentence in violations(bench, work)),
    }


def jobs_of(bench: Bench, *words: str) -> list[str]:
    return [line["job"] for word in words for line in bench.ledger.lines(word)]


def more_than_once(counts: Counter[str]) -> int:
    return sum(count > 1 for count in counts.values())


def violations(bench: Bench, ids: list[str]) -> list[str]:
    """What the suite's invariants say."""
    from django_ais.conformance.invariants import assert_healed

    try:
        assert_healed(bench.ledger, ids)
    except AssertionError as error:
        return str(error).splitlines()
    return []


def tests_named(name: str) -> list[Callable[[Bench], None]]:
    """The tests of a requirement, or the one function."""
    module, _, function = name.partition(":")
    return [getattr(importlib.import_module(module), function)] if function else list(tests_of(name))


def main(file: str, profile: str, name: str) -> int:
    kind = load_profile(profile, "queue")
    with Site("sqlite") as site, patch.object(crew, "SIZE", SIZE), Blinded(kind, site) as bench:
        tests = tests_named(name)
        if not tests:
            raise LookupError(f"no test is called {name}")
        said = found(tests, bench)
        sys.stderr.write(f"{said}\n")
        Path(file).write_text(json.dumps({**said, **aftermath(bench)}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
