"""``python -m django_ais.conformance queue|bus --profile MODULE:CLASS --report FILE``: prove a driver.

Exit codes: 0 conformant, 1 non-conformant, 3 partial, 4 incomplete, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from django_ais.conformance.manifest import TIERS, Kind, of_kind
from django_ais.conformance.profile import load_profile
from django_ais.conformance.report import Report
from django_ais.conformance.subject import Subject, load_driver
from django_ais.exceptions import AisError

HERE = Path(__file__).parent


def main(arguments: Sequence[str]) -> int:
    """Run the suite; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        _list(options.kind)
        return 0
    if not options.profile:
        parser.error("--profile is needed")
    sys.path.insert(0, str(Path.cwd()))
    try:
        profile = load_profile(options.profile, options.kind)
        driver = load_driver(profile)
        report = Report(profile, driver, Subject(profile, driver).flags)
    except AisError as error:
        parser.error(str(error))
    _run(report, tiers=options.tier, database=options.database, verbose=options.verbose)
    if options.report:
        Path(options.report).write_text(json.dumps(report.document(), indent=2, ensure_ascii=False) + "\n")
    _say(report, options.tier)
    return report.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m django_ais.conformance", description="Prove a driver.")
    parser.add_argument("kind", choices=["queue", "bus"], help="the kind of driver")
    parser.add_argument("--profile", metavar="MODULE:CLASS", help="what is to be proved")
    parser.add_argument("--report", metavar="FILE", help="where to write the report, as JSON")
    parser.add_argument("--tier", type=_tiers, default=TIERS, metavar="T,T", help=f"only these of {', '.join(TIERS)}")
    parser.add_argument("--database", choices=["sqlite", "postgres"], help="where the jobs live")
    parser.add_argument("--list", action="store_true", help="print the requirements and stop")
    parser.add_argument("--verbose", action="store_true", help="tell of each test")
    return parser


def _tiers(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    if unknown := [tier for tier in asked if tier not in TIERS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(TIERS)}")
    return tuple(tier for tier in TIERS if tier in asked)


def _run(report: Report, *, tiers: tuple[str, ...], database: str | None, verbose: bool) -> None:
    try:
        import hypothesis  # noqa: F401
        import pytest
    except ImportError as error:
        sys.exit(f"{error}: pip install 'django-ais[conformance]'")

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # no plugin of the author's environment decides here
    os.environ.pop("PYTEST_ADDOPTS", None)
    from django_ais.conformance.run import ConformanceRun

    suites = [HERE / "shared_suite", HERE / f"{report.profile.kind}_suite"]
    command = [*map(str, suites), "-c", str(HERE / "pytest.ini"), "--rootdir", str(HERE), "--noconftest"]
    command += ["-p", "no:cacheprovider", "-p", "django_ais.conformance.plugin"]
    command += ["--tb=short", "-v" if verbose else "-q", "--durations=8"]
    pytest.main(command, plugins=[ConformanceRun(report, tiers=tiers, database=database)])


def _say(report: Report, tiers: tuple[str, ...]) -> None:
    out = sys.stdout.write
    for item in report.requirements:
        outcome = report.outcome(item.id)
        if outcome not in ("passed", "not-applicable") and item.tier in tiers:
            out(f"{outcome:>14}  {item.id} {item.level}: {item.sentence} {report.findings[item.id].reason}\n")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.counts.items()))
    only = "" if tiers == TIERS else f", of {', '.join(tiers)} alone"
    out(f"{report.profile.driver}: {report.level} ({counts}{only})\n")


def _list(kind: Kind) -> None:
    for item in of_kind(kind):
        asked = f" [{item.capability}]" if item.capability else ""
        sys.stdout.write(f"{item.id:<15} {item.tier:<9} {item.level:<5} {item.sentence}{asked}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
