"""The fixtures of the suite, a pytest plugin. ``python -m django_ais.conformance`` names it; it never loads itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_ais.conformance.bench import Bench
from django_ais.conformance.bus_bench import BusBench
from django_ais.conformance.run import RUN
from django_ais.conformance.site import Site
from django_ais.conformance.subject import Subject
from django_ais.conformance.workbench import Workbench

BENCHES: dict[str, type[Workbench]] = {"queue": Bench, "bus": BusBench}


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Subject:
    """The class alone."""
    report = pytestconfig.stash[RUN].report
    return Subject(report.profile, report.driver)


@pytest.fixture
def bench(workbench: Workbench) -> Workbench:
    """The driver with its servers, its worker processes and its jobs, ready for a test."""
    workbench.begin()
    return workbench


@pytest.fixture(scope="session")
def workbench(pytestconfig: pytest.Config) -> Iterator[Workbench]:
    """Set up once for all tests."""
    run = pytestconfig.stash[RUN]
    report = run.report
    for distribution in report.missing:
        raise LookupError(f"{distribution} is not installed, and the profile requires it")
    with Site(run.database) as site, BENCHES[report.profile.kind](report.profile, site) as bench:
        report.environment["database"] = site.database_version()
        report.environment["servers"] = {server.name: server.version for server in bench.servers}
        report.facts = bench.facts
        yield bench
