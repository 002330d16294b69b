"""One run of the suite in pytest: collects what applies to a driver, watches the clock, fills the report."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Any

import pytest

from django_ais.conformance.manifest import BY_ID, TIERS, requirement_of
from django_ais.conformance.report import Report

RERUNS = ("rerunfailures", "flaky", "pytest_rerunfailures", "flaky.flaky_pytest_plugin")
LONGEST = {"static": 60.0, "contract": 90.0, "stateful": 120.0, "process": 240.0}  # seconds for one test


class ConformanceRun:
    """Collects what applies, runs it on one bench, and fills a report."""

    def __init__(self, report: Report, *, tiers: tuple[str, ...] = TIERS, database: str | None = None) -> None:
        self.report = report
        self.tiers = tiers
        self.database: Any = database or report.profile.database

    def pytest_configure(self, config: pytest.Config) -> None:
        """Refuse what would hide a failure."""
        found = [name for name in RERUNS if config.pluginmanager.hasplugin(name)]
        if found:
            raise pytest.UsageError(f"the suite refuses to run a failed test again: take away {', '.join(found)}")
        config.stash[RUN] = self

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep what applies to the driver and belongs to the tiers asked for, in the order of the tiers."""
        for item in items:
            if not self.id_of(item):
                raise pytest.UsageError(f"{item.nodeid} proves no requirement of a {self.report.profile.kind}")
        kept = [item for item in items if self._is_wanted(self.id_of(item))]
        left_out = [item for item in items if item not in kept]
        items[:] = sorted(kept, key=lambda item: TIERS.index(BY_ID[self.id_of(item)].tier))
        config.hook.pytest_deselected(items=left_out)

    def id_of(self, item: pytest.Item) -> str:
        """The requirement that a test proves of this kind of driver."""
        return requirement_of(getattr(item, "function", None), self.report.profile.kind)

    def _is_wanted(self, id: str) -> bool:
        return BY_ID[id].tier in self.tiers and self.report.is_applicable(id)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run a test that is a coroutine in an event loop of its own."""
        if not inspect.iscoroutinefunction(pyfuncitem.obj):
            return None
        names = inspect.signature(pyfuncitem.obj).parameters
        asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """A test that hangs is a test that fails."""
        seconds = LONGEST[BY_ID[self.id_of(item)].tier]

        def stop(number: int, frame: FrameType | None) -> None:
            raise AssertionError(f"the test took longer than {seconds:g} s")

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Put each outcome into the report. A fixture that fails is the suite's trouble, a skip is a failure."""
        result: Any = yield
        id = self.id_of(item)
        reason = str(call.excinfo.value).strip().partition("\n")[0] if call.excinfo is not None else ""
        if call.when == "call":
            outcome = "passed" if result.outcome == "passed" else "failed"
            self.report.record(id, outcome, seconds=call.duration, reason=reason)  # type: ignore[arg-type]
        elif call.excinfo is not None:
            self.report.record(id, "infra-error", seconds=call.duration, reason=reason)
        return result


RUN = pytest.StashKey[ConformanceRun]()
