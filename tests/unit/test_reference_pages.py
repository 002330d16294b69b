"""The pages that list what the code has: complete, and up to date."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from django_ais import checks, exceptions
from django_ais.conformance.manifest import REVISION

ROOT = Path(__file__).parents[2]
ERRORS = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", ERRORS, re.MULTILINE | re.DOTALL))


def generator(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("generator", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def error_classes() -> dict[str, type[exceptions.AisError]]:
    return {
        name: kind
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type) and issubclass(kind, exceptions.AisError)
    }


def test_every_error_and_check_is_on_the_page_and_nothing_else():
    """Given the error tree and the checks, when looked up, then each has a section, in the order of the sources."""
    source = Path(checks.__file__).read_text(encoding="utf-8")
    ids = {f"django_ais.{number}" for number in re.findall(r"[EWI]\d{3}", source)}

    assert set(SECTIONS) == set(error_classes()) | ids
    assert [name for name in SECTIONS if name in error_classes()] == list(error_classes())
    assert len(re.findall(r"^### ", ERRORS, re.MULTILINE)) == len(SECTIONS)


def test_every_section_says_what_to_do():
    """Given the page, when a section is read, then it says what happened and then how to mend it."""
    without = [name for name, text in SECTIONS.items() if not re.match(r"\n\S.*\n\n\*\*Mend:\*\* \S", text, re.DOTALL)]

    assert without == []


def test_every_code_of_an_error_is_named_in_its_section():
    """Given an error class with a code of its own, when looked up, then the page says the code."""
    several = {exceptions.AisError, exceptions.JobTimeoutError, exceptions.GatewayError}
    missing = [
        name
        for name, kind in error_classes().items()
        if kind not in several and f"ode `{kind.code}`" not in SECTIONS[name]
    ]

    assert missing == []


def test_the_tree_in_the_module_names_every_error():
    """Given the tree that is drawn in the module, when compared with its classes, then neither has more."""
    drawn = re.findall(r"(?:── |^ +)([A-Z]\w+)", (exceptions.__doc__ or "").split("\n::\n")[1], re.MULTILINE)

    assert [name for name in drawn if name in error_classes()] == list(error_classes())


def test_the_page_of_settings_is_up_to_date():
    """Given the settings and drivers as they are, when the page is made anew, then it is the one that is there."""
    made = generator("docs/reference/generate_settings.py").page()

    assert (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8") == made, (
        "run: python docs/reference/generate_settings.py"
    )


def test_the_tables_of_drivers_are_up_to_date():
    """Given the suite's reports, when the pages are made anew, then they are those that are there."""
    for file, made in generator("docs/drivers/generate_index.py").pages().items():
        assert (ROOT / "docs/drivers" / file).read_text(encoding="utf-8") == made, (
            "run: python docs/drivers/generate_index.py"
        )


@pytest.mark.parametrize("kind", ["queue", "bus"])
def test_every_driver_has_a_report_of_a_whole_run(kind):
    """Given the drivers that ship, then each has a report of this suite, on which it conforms."""
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][f"django_ais.{kind}"]
    reports = [json.loads(file.read_text()) for file in (ROOT / "docs/drivers/reports").glob("*.json")]
    of_this_kind = [report for report in reports if report["kind"] == kind]

    assert {report["driver"]["name"] for report in of_this_kind} == set(shipped) - {"immediate"}  # for tests
    assert {report["suite_revision"] for report in of_this_kind} == {REVISION}
    assert {report["level"] for report in of_this_kind} == {"conformant"}
