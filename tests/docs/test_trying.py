"""The negative controls of the pages' tests: a page that lies is found out."""

from __future__ import annotations

import pytest
from django.core.management import CommandError

from tests.docs.pages import DOCS, Block
from tests.docs.trying import Reader

pytestmark = pytest.mark.django_db
LIES = {
    "an output that never comes": ("python", "print(1 + 1)\n# > 3\n", "printed:\n2"),
    "an output that nobody announced": ("python", "print(1 + 1)\n", "printed:\n2"),
    "a test that fails": ("python", "def test_sums():\n    assert 1 + 1 == 3, 'sums'\n", "sums"),
    "a test case that fails": (
        "python",
        "import unittest\n\n\nclass SumTest(unittest.TestCase):\n    def test_sums(self):\n        assert 0, 'sums'\n",
        "sums",
    ),
    "a worker that is not there": ("yaml", "name: lie\njobs: [{type: no.such.worker}]\n", "W130"),
}
COMMANDS = {
    "a command that is not there": "python manage.py ais_fly",
    "an option that is not there": "python manage.py ais_worker --speed 9",
}


def block(language: str, text: str) -> Block:
    return Block(DOCS / "index.md", 1, language, text)


@pytest.mark.parametrize(("language", "text", "words"), LIES.values(), ids=list(LIES))
def test_a_lie_is_found_out(language: str, text: str, words: str) -> None:
    """Given a block that does not do what it says, when it is pasted, then it fails and says so."""
    with pytest.raises(AssertionError, match=words):
        Reader(lambda name, value: None).paste(block(language, text))


@pytest.mark.parametrize("line", COMMANDS.values(), ids=list(COMMANDS))
def test_a_wrong_command_is_found_out(line: str) -> None:
    """Given a line that no command takes, when it is pasted, then it fails."""
    with pytest.raises((KeyError, CommandError, SystemExit)):
        Reader(lambda name, value: None).paste(block("console", line))


def test_an_error_is_not_hidden() -> None:
    """Given a block that raises, when it is pasted, then the error passes."""
    with pytest.raises(ZeroDivisionError):
        Reader(lambda name, value: None).paste(block("python", "1 / 0"))
