"""The reference pages are complete: every command with its options, every event with its example."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.core.management import BaseCommand, load_command_class

import django_ais
from django_ais.events import DELTA_TYPES, RUNTIME_TYPES, TERMINAL_TYPES, VOCABULARY
from tests.docs.pages import DOCS

COMMANDS = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
EVENTS = (DOCS / "reference" / "events.md").read_text(encoding="utf-8")
NAMES = sorted(
    path.stem
    for path in (Path(django_ais.__file__).parent / "management" / "commands").glob("*.py")
    if path.stem != "__init__"
)


def sections(page: str, level: str) -> dict[str, str]:
    """The sections of a page by their headings."""
    return dict(re.findall(rf"^{level} `?([\w.]+)`?\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))


def options(command: BaseCommand) -> set[tuple[str, str | None]]:
    """What a command's parser takes: the longest form of each option, and its help."""
    actions = command.create_parser("manage.py", "name")._actions
    return {(max(action.option_strings, key=len), action.help) for action in actions if action.option_strings}


def test_every_command_has_a_section() -> None:
    """Given the commands, when the page is read, then it has a section for each and no other."""
    assert sorted(sections(COMMANDS, "##")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_command_is_in_its_table(name: str) -> None:
    """Given a command's parser, when its section is read, then the table names the same options."""
    named = set(re.findall(r"^\| `(--[\w-]+)", sections(COMMANDS, "##")[name], re.MULTILINE))

    assert named == {option for option, _ in options(load_command_class("django_ais", name)) - options(BaseCommand())}


def test_every_event_has_a_section() -> None:
    """Given the vocabulary, when the page is read, then it has a section for each type, in the same order."""
    assert list(sections(EVENTS, "###")) == list(VOCABULARY)


@pytest.mark.parametrize("type", VOCABULARY)
def test_the_example_of_an_event_is_its_own(type: str) -> None:
    """Given an event type, when its section is read, then the example is the vocabulary's and all fields are named."""
    text = sections(EVENTS, "###")[type]
    (example,) = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    assert json.loads(example) == {"type": type, "data": dict(VOCABULARY[type].example)}
    fields = [name for name in VOCABULARY[type].model_fields if name != "type"]
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == fields


def test_the_lists_of_types_are_true() -> None:
    """Given the sentences that list types, when compared with the code, then they name the same."""
    listed = {
        head: set(re.findall(r"`([\w.]+)`", line)) for head, line in re.findall(r"^\*\*(.+?)\.\*\* (.+)$", EVENTS, re.M)
    }

    assert listed["The last of a job"] == set(TERMINAL_TYPES)
    assert listed["Pieces of text"] == set(DELTA_TYPES)
    assert listed["The runtime's own"] == set(RUNTIME_TYPES)
