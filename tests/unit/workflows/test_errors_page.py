"""The page of problems: complete, and true, because every example on it is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from django_ais.exceptions import ExpressionError
from django_ais.workflows.expressions import parse
from django_ais.workflows.loader import load
from django_ais.workflows.schemas import WorkerInfo

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/workflow-errors.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([WX]\d{3})\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROWS = dict(re.findall(r"^\| \[([WX]\d{3})\]\(#[wx]\d{3}\) \| ([a-z ]+) \|", PAGE, re.MULTILINE))
CODE = re.compile(r'"([WX]\d{3})"')
OCR = WorkerInfo(
    "documents.ocr",
    "shop.workers.Ocr",
    output_schema={"type": "object", "properties": {"pages": {"type": "array"}, "language": {"type": "string"}}},
    config_schema={"type": "object", "properties": {"language": {"type": "string"}}},
)
WORKERS = {
    "documents.ocr": OCR,
    **{name: WorkerInfo(name, f"shop.{name}") for name in ("SUMMARIZE", "documents.merge")},
}
CONTEXT = {"inputs": {"title": "Notice", "count": 3, "long": "x" * 40_000}}


def blocks(code, language):
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[code], re.DOTALL)


def test_every_code_is_documented_and_every_documented_code_exists():
    """Given the sources, when their codes are collected, then the table and the sections hold exactly those."""
    sources = (ROOT / "django_ais/workflows").glob("*.py")
    used = {code for path in sources for code in CODE.findall(path.read_text(encoding="utf-8"))}
    used |= set(CODE.findall((ROOT / "django_ais/exceptions.py").read_text(encoding="utf-8")))

    assert used == set(SECTIONS)
    assert list(ROWS) == list(SECTIONS)


@pytest.mark.parametrize("code", [code for code in SECTIONS if "```yaml" in SECTIONS[code]])
def test_the_example_provokes_its_code_and_the_mend_mends_it(code):
    """Given the two files of a section, when loaded, then the first has this problem alone and the second has none."""
    wrong, mended = blocks(code, "yaml")
    found = {(problem.code, problem.severity) for problem in load(wrong, workers=WORKERS).problems}

    assert found == {(code, ROWS[code])}
    assert [problem.render() for problem in load(mended, workers=WORKERS).problems] == []


@pytest.mark.parametrize("code", [code for code in SECTIONS if "```cel" in SECTIONS[code]])
def test_the_expression_provokes_its_code_and_the_mend_mends_it(code):
    """Given the two expressions of a section, when evaluated, then the first breaks this rule and the second gives."""
    wrong, mended = (block.strip() for block in blocks(code, "cel"))
    with pytest.raises(ExpressionError) as caught:
        parse(wrong).evaluate(CONTEXT)

    assert caught.value.rule == code
    parse(mended).evaluate(CONTEXT)


def test_every_section_has_an_example():
    """Given the page, when a code is looked up, then there is an example of it and of its mend."""
    assert all(len(blocks(code, "yaml")) == 2 or len(blocks(code, "cel")) == 2 for code in SECTIONS)
