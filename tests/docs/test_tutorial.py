"""The tutorial, from an empty folder to its last command, as written.

Its page becomes one shell script: a block that is a file is written where it says, a ``bash`` block is run, and the
``output`` block after it is looked for in what the commands printed: its lines, in their order; numbers may differ.

The suite leaves out the block that installs, because that takes a package index: the test's own Python stands in for
it. With ``--full`` nothing is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import django
import pytest

from tests.docs.pages import DOCS, ROOT, Block, blocks

PAGE = DOCS / "tutorial" / "first-workflow.md"
MARK = "=====block"
SECONDS = 300
pytestmark = [
    pytest.mark.skipif(os.environ.get("AIS_TEST_DB") == "postgres", reason="the tutorial has SQLite"),
    pytest.mark.skipif(django.VERSION < (5, 1), reason="the tutorial installs today's Django"),
    pytest.mark.timeout(SECONDS + 30),
]


def script(tutorial: list[Block]) -> str:
    """The page as a shell script that prints the number of each block before what the block prints."""
    return "\n".join(["set -e", *(_step(number, block) for number, block in enumerate(tutorial))])


def _step(number: int, block: Block) -> str:
    if block.language == "bash":
        return f"echo '{MARK} {number}'\n{block.text}"
    if block.file:
        operator = ">>" if block.is_addition else ">"
        return f"cat {operator} {block.file} <<'END OF FILE'\n{block.text}END OF FILE"
    return ""


def plain(line: str) -> str:
    """A line without what differs between two runs."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "0", line).split())


def said(printed: str) -> dict[int, list[str]]:
    """What each block printed, by its number."""
    parts = re.split(rf"^{MARK} (\d+)$", printed, flags=re.MULTILINE)
    return {int(number): text.splitlines() for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def missing(wanted: list[str], printed: list[str]) -> list[str]:
    """The first wanted line that does not stand among the printed ones, in its order; and all after it."""
    rest = iter([plain(line) for line in printed])
    return next((wanted[place:] for place, line in enumerate(wanted) if plain(line) not in rest), [])


def follow(folder: Path, tutorial: list[Block], **environment: str) -> None:
    """Run the page in an empty folder and compare what it says it prints."""
    given = {key: value for key, value in os.environ.items() if not key.startswith(("AIS_", "DJANGO_", "PYTEST_"))}
    done = subprocess.run(
        ["bash", "-c", script(tutorial)],
        cwd=folder, env={**given, "CHECKOUT": str(ROOT), **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    printed = said(done.stdout)
    for number, block in enumerate(tutorial):
        if block.language == "output":
            lost = missing(block.text.splitlines(), printed[number - 1])
            assert lost == [], f"{block} is not what was printed:\n{done.stdout}"


def is_install(block: Block) -> bool:
    return "pip install" in block.text


def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    """Given an empty folder, when everything but the installation is done as written, then all comes as printed."""
    tutorial = [block for block in blocks(PAGE) if not is_install(block)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    follow(tmp_path, tutorial, PATH=path, PYTHONPATH=str(ROOT))


@pytest.mark.full
def test_the_tutorial_works_with_its_installation(tmp_path: Path) -> None:
    """Given an empty folder and a package index, when the whole page is done as written, then all comes as printed."""
    follow(tmp_path, blocks(PAGE), PATH=f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}")


def test_an_output_that_differs_is_noticed() -> None:
    """The negative control: a missing line and a wrong order are found, another time is not."""
    printed = ["0.12 s  a  started", "noise", "0.20 s  b  ended"]

    assert missing(["0.00 s a started", "0.00 s b ended"], printed) == []
    assert missing(["0.00 s b ended", "0.00 s a started"], printed) == ["0.00 s a started"]
    assert missing(["0.00 s c ended"], printed) == ["0.00 s c ended"]


def test_the_page_has_files_commands_and_outputs() -> None:
    """The negative control: blocks of each kind are found."""
    tutorial = blocks(PAGE)

    assert len([block for block in tutorial if block.file]) >= 6
    assert len([block for block in tutorial if block.language == "bash"]) >= 6
    assert len([block for block in tutorial if block.language == "output"]) >= 4
    assert len([block for block in tutorial if is_install(block)]) == 1
