"""Workflow files that cannot be used, imported: every fault at once with its place, nothing stored."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from django_ais.models import Workflow

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_written")]

TEN_FAULTS = """\
name: 9 lives
version: 1.10
descripton: a slip of the pen
inputs:
  type: objekt
jobs:
  - type: ecco
    priority: high
  - id: merge
    type: echo
    needs: [erge]
    join: all_suceeded
    config:
      max_retries: -1
      timeout: soon
    with:
      text: ${{ jobs.merge.outputs + }}
  - id: merge
    type: echo
"""
TEN_PLACES = {
    (1, 7): ("ais.W112", "9 lives"),
    (3, 1): ("ais.W101", "descripton", "description"),
    (5, 3): ("ais.W115", "objekt"),
    (7, 11): ("ais.W130", "ecco", "did you mean 'echo'?"),
    (8, 15): ("ais.W104", "priority"),
    (11, 13): ("ais.W121", "erge", "did you mean 'merge'?"),
    (12, 11): ("ais.W113", "all_suceeded", "did you mean 'all_succeeded'?"),
    (14, 20): ("ais.W114", "max_retries"),
    (15, 16): ("ais.W140", "soon"),
    (17, 38): ("ais.X200",),
    (18, 9): ("ais.W120", "merge"),
}
CYCLE = """\
name: circle
jobs:
  - {id: first, type: echo, needs: [third]}
  - {id: second, type: echo, needs: [first]}
  - {id: third, type: echo, needs: [second]}
"""
JOB = """\
name: bomb
jobs:
  - type: echo
    with: {value: "${{ %s }}"}
"""
EXPRESSION_BOMBS = {
    "nested too deep": "(" * 5_000 + "1" + ")" * 5_000,
    "too long": " + ".join(["1"] * 2_000),
    "too many parts": "[" + ",".join("1" for _ in range(900)) + "]",
    "a chain of signs": "-" * 1_500 + "1",
}
YAML_BOMBS = {
    "aliases of aliases": "name: lol\nx-a: &a [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"x-{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "brackets": "name: deep\nx-deep: " + "[" * 100_000,
    "a huge file": "name: huge\n" + "# nothing\n" * 200_000,
    "a Python object": 'name: evil\nx-run: !!python/object/apply:os.system ["true"]\n',
}


def refused(folder: Path, text: str, *options: str) -> str:
    """What `import_workflow` says of a file that it refuses."""
    file = folder / "broken.yaml"
    file.write_text(text, encoding="utf-8")
    said = io.StringIO()
    with pytest.raises(CommandError, match="nothing was stored") as caught:
        call_command("import_workflow", str(file), *options, stderr=said, no_color=True)
    assert caught.value.returncode == 1
    assert Workflow.objects.count() == 0
    return said.getvalue().replace(f"{folder}/", "")


def places(said: str) -> dict[tuple[int, int], str]:
    """The errors by line and column: everything that was said of each."""
    found = re.split(r"^(?=broken\.yaml:)", said, flags=re.MULTILINE)[1:]
    heads = [re.match(r"broken\.yaml:(\d+):(\d+): (error|warning|info)\[", text) for text in found]
    assert all(heads), said
    return {
        (int(head[1]), int(head[2])): text
        for head, text in zip(heads, found, strict=True)
        if head is not None and head[3] == "error"
    }


def test_every_fault_of_a_file_is_told_at_once(tmp_path):
    """Given ten faults and one more in one file, when imported, then each is told with its place, code and mend."""
    told = places(refused(tmp_path, TEN_FAULTS))

    assert set(told) == set(TEN_PLACES)
    for place, parts in TEN_PLACES.items():
        assert [part for part in parts if part not in told[place]] == [], told[place]


def test_each_fault_is_shown_in_its_line(tmp_path):
    """Given a fault, when told, then its line stands below with a caret under the column."""
    said = refused(tmp_path, TEN_FAULTS).splitlines()

    head = next(place for place, line in enumerate(said) if "ais.W113" in line)
    assert said[head + 1].endswith("|     join: all_suceeded")
    assert said[head + 2].index("^") == said[head + 1].index("all_suceeded")


def test_jobs_that_wait_for_one_another_are_named(tmp_path):
    """Given a circle of needs, when imported, then the error names all of it."""
    (told,) = places(refused(tmp_path, CYCLE)).values()

    assert "ais.W122" in told
    assert {"first", "second", "third"} <= set(re.findall(r"\w+", told.splitlines()[0]))


@pytest.mark.parametrize("bomb", EXPRESSION_BOMBS)
def test_an_expression_that_would_never_end_is_refused(bomb, tmp_path):
    """Given an expression beyond the limits, when imported, then it is refused at its place, in no time."""
    begun = time.monotonic()

    told = places(refused(tmp_path, JOB % EXPRESSION_BOMBS[bomb]))

    assert [line for line, _ in told] == [4]
    assert "ais.X207" in next(iter(told.values()))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("bomb", YAML_BOMBS)
def test_a_file_meant_to_hurt_is_refused(bomb, tmp_path):
    """Given YAML that would fill the memory, the stack or run code, when imported, then it is refused in no time."""
    begun = time.monotonic()

    told = places(refused(tmp_path, YAML_BOMBS[bomb] + "\njobs:\n  - type: echo\n"))

    assert any(code in text for text in told.values() for code in ("ais.W106", "ais.W108", "ais.W109")), told
    assert time.monotonic() - begun < 5


def test_one_broken_file_keeps_the_others_out(tmp_path):
    """Given a good file beside a broken one, when both are imported, then neither is stored."""
    (tmp_path / "good.yaml").write_text("name: good\njobs:\n  - type: echo\n")

    refused(tmp_path, CYCLE, str(tmp_path / "good.yaml"))


@pytest.mark.parametrize("option", ["--dry-run", "--check"])
def test_a_good_file_is_not_stored_when_only_looked_at(option, tmp_path):
    """Given a good file, when it is only tried, then no row is there."""
    (tmp_path / "good.yaml").write_text("name: good\njobs:\n  - type: echo\n")

    call_command("import_workflow", str(tmp_path / "good.yaml"), option, stdout=io.StringIO())

    assert Workflow.objects.count() == 0
