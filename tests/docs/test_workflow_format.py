"""The reference of the workflow format: complete, and every example on it can be loaded."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from django_ais.workflows.configs import BACKOFF_KEYS, CONFIG_KEYS, CONFIG_KEYS_LATER
from django_ais.workflows.expressions import parse
from django_ais.workflows.functions import FUNCTION_NAMES
from django_ais.workflows.loader import load
from django_ais.workflows.reader import (
    FOREACH_KEYS,
    JOB_KEYS,
    JOINS,
    ON_ITEM_FAILURE,
    TYPES_LATER,
    WORKFLOW_KEYS,
    WORKFLOW_KEYS_LATER,
)
from tests.docs.pages import DOCS, Block, blocks

FILE = DOCS / "reference" / "workflow-format.md"
PAGE = FILE.read_text(encoding="utf-8")
EXAMPLES = blocks(FILE, "yaml")
LATER = PAGE.partition("## Not in this version")[2]
INPUTS = {"names": ["Ada", "Grace"], "count": 3, "price": 2.5, "note": None}
EXPRESSIONS = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE.partition("## Expressions")[2], re.MULTILINE)
DEFAULTS_KEYS = ("queue", "priority", "config")


def completed(block: Block) -> str:
    """An example with the name and the job that it leaves out."""
    text = block.text
    if not re.search(r"^name:", text, re.MULTILINE):
        text = f"name: example\n{text}"
    return text if re.search(r"^jobs:", text, re.MULTILINE) else f"{text}jobs: [{{type: SUMMARIZE}}]\n"


def documents() -> list[dict[str, Any]]:
    return [yaml.safe_load(block.text) for block in EXAMPLES]


def jobs() -> list[dict[str, Any]]:
    return [job for document in documents() for job in document.get("jobs", ())]


def keys(mappings: list[Any]) -> set[str]:
    return {key for mapping in mappings for key in mapping or () if not key.startswith("x-")}


def rows(section: str, until: str) -> set[str]:
    """The first columns of the tables between two headings."""
    return set(re.findall(r"^\| `(\w+)` \|", PAGE.partition(section)[2].partition(until)[0], re.MULTILINE))


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_is_loaded_without_a_problem(block: Block) -> None:
    """Given an example, when it is loaded, then there is nothing to say about it."""
    assert [problem.render() for problem in load(completed(block)).problems] == []


def test_every_key_has_an_example() -> None:
    """Given the keys that the format knows, when the examples are read, then each is used, and no other."""
    configs = [job.get("config") for job in jobs()]

    assert keys(documents()) == set(WORKFLOW_KEYS)
    assert keys(jobs()) == set(JOB_KEYS)
    assert keys([document.get("defaults") for document in documents()]) == set(DEFAULTS_KEYS)
    assert keys([job.get("foreach") for job in jobs()]) == set(FOREACH_KEYS)
    assert keys(configs) == set(CONFIG_KEYS)
    assert keys([(config or {}).get("backoff") for config in configs]) == set(BACKOFF_KEYS)


def test_every_key_has_a_row() -> None:
    """Given the keys that the format knows, when the tables are read, then each has a row, and no other."""
    assert rows("## The workflow", "### name") == set(WORKFLOW_KEYS)
    assert rows("## A job", "### id") == set(JOB_KEYS)
    assert rows("### join", "### if") == set(JOINS)
    assert rows("### foreach", "### with") == set(FOREACH_KEYS)
    assert rows("## config", "### backoff") == set(CONFIG_KEYS)
    assert rows("### backoff", "## Expressions") == set(BACKOFF_KEYS)
    assert all(f"`{word}`" in PAGE for word in ON_ITEM_FAILURE)


def test_what_is_not_there_yet_is_said() -> None:
    """Given the reserved words, when the last section is read, then it names each."""
    reserved = {*WORKFLOW_KEYS_LATER, *CONFIG_KEYS_LATER, *TYPES_LATER}

    assert set(re.findall(r"`(\w+)`", LATER)) - {"W150", "config"} == reserved


@pytest.mark.parametrize(("expression", "wanted"), EXPRESSIONS)
def test_an_expression_gives_what_the_table_says(expression: str, wanted: str) -> None:
    """Given a line of the table, when it is evaluated, then it gives what stands beside it."""
    value = parse(expression.replace(r"\|", "|")).evaluate({"inputs": INPUTS})

    assert value == json.loads(wanted)
    assert isinstance(value, bool) == isinstance(json.loads(wanted), bool)


def test_every_function_has_a_line() -> None:
    """Given the functions of expressions, when the table is read, then each is called in it."""
    called = {name for expression, _ in EXPRESSIONS for name in re.findall(r"(\w+)\(", expression)}

    assert called == set(FUNCTION_NAMES)
