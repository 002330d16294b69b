"""What a run of the suite found, computed over the manifest: an id without an outcome makes the report incomplete."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal

import django_ais
from django_ais.conformance.manifest import BY_ID, REVISION, of_kind
from django_ais.conformance.profile import Profile, applies, capabilities

SCHEMA = "django-ais/conformance-report/v1"
EXIT_CODES = {"conformant": 0, "non-conformant": 1, "partial": 3, "incomplete": 4}

Outcome = Literal["passed", "failed", "known-failure", "not-applicable", "not-run", "infra-error"]
MISSING = "missing"
GRAVEST: Sequence[Outcome] = ("failed", "infra-error", "known-failure", "passed")
PATH = re.compile(r"(?<![\w:/])/(?:[\w.+-]+/)+[\w.+-]*")  # no report names a machine's folders


@dataclass
class Finding:
    """What is known of one requirement."""

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""

    @property
    def outcome(self) -> Outcome:
        """The gravest of its tests' outcomes."""
        return next((outcome for outcome in GRAVEST if outcome in self.outcomes), "not-run")


class Report:
    """Collects outcomes. ``not-applicable`` is decided here, by the driver's flags, and by nobody else."""

    def __init__(self, profile: type[Profile], driver: type[Any], flags: Mapping[str, Any] | None = None) -> None:
        self.profile = profile
        self.driver = driver
        self.flags = capabilities(driver, profile) if flags is None else flags
        self.requirements = of_kind(profile.kind)
        self.findings = {item.id: Finding() for item in self.requirements}
        self.environment: dict[str, Any] = {"python": platform.python_version(), "django": _version("Django")}
        self.facts: dict[str, Any] = {}

    def is_applicable(self, id: str) -> bool:
        """Whether a requirement is asked of this driver."""
        return applies(BY_ID[id], self.profile, self.flags)

    def record(self, id: str, outcome: Outcome, *, seconds: float = 0.0, reason: str = "") -> None:
        """One test's outcome. A known failure that passes is a failure: its entry must go."""
        finding = self.findings[id]
        if id in self.profile.known_failures:
            if outcome == "passed":
                outcome, reason = "failed", "listed in known_failures, and it passes: take it off the list"
            elif outcome == "failed":
                outcome, reason = "known-failure", self.profile.known_failures[id]
        finding.outcomes.append(outcome)
        finding.seconds += seconds
        finding.reason = finding.reason or PATH.sub("…", reason)

    def outcome(self, id: str) -> Outcome:
        """Of one requirement."""
        return self.findings[id].outcome if self.is_applicable(id) else "not-applicable"

    @property
    def missing(self) -> list[str]:
        """The distributions that the profile requires and that are not installed."""
        return [name for name in self.profile.requires if _version(name) == MISSING]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many requirements had which outcome."""
        return Counter(self.outcome(id) for id in self.findings)

    @property
    def level(self) -> str:
        """non-conformant, incomplete, partial or conformant: the first that is true."""
        gravest = {self.outcome(item.id) for item in self.requirements if item.level == "MUST"}
        optional = {self.outcome(item.id) for item in self.requirements if item.level == "MAY"}
        if "failed" in gravest:
            return "non-conformant"
        if {"not-run", "infra-error"} & (gravest | optional):
            return "incomplete"
        return "partial" if {"known-failure", "failed"} & (gravest | optional) else "conformant"

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return EXIT_CODES[self.level]

    def document(self) -> dict[str, Any]:
        """The report as JSON. It holds no host name and no path."""
        return {
            "schema": SCHEMA,
            "suite_revision": REVISION,
            "django_ais": django_ais.__version__,
            "kind": self.profile.kind,
            "driver": {
                "name": self.profile.driver,
                "class": f"{self.driver.__module__}.{self.driver.__qualname__}",
                "options": sorted(self.profile.options),
            },
            "level": self.level,
            "environment": {**self.environment, "clients": {name: _version(name) for name in self.profile.requires}},
            "capabilities": self.flags,
            "counts": dict(sorted(self.counts.items())),
            "requirements": {id: self._entry(id) for id in self.findings},
            "facts": self.facts,
        }

    def _entry(self, id: str) -> dict[str, Any]:
        finding, outcome = self.findings[id], self.outcome(id)
        entry: dict[str, Any] = {"outcome": outcome}
        if outcome in ("passed", "failed", "known-failure", "infra-error"):
            entry["ms"] = round(finding.seconds * 1000)
        if finding.reason and outcome != "passed":
            entry["reason"] = finding.reason
        return entry


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return MISSING
