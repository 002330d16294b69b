"""The README's first example, taken from the page and run in a project that Django generates."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
pytestmark = pytest.mark.skipif(
    os.environ.get("AIS_TEST_DB") == "postgres", reason="the generated project has an SQLite file of its own"
)


def blocks(language: str) -> list[str]:
    """The page's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


SETTINGS, OTHER_DRIVERS = [block for block in blocks("python") if block.startswith("# settings.py")]
(CALLS,) = [block for block in blocks("python") if block.startswith("# anywhere")]
MODULES = [block for block in blocks("python") if block.startswith("# your_app/")]


class Project:
    """A generated project, into which blocks are pasted as their first line says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str) -> str:
        """Run Python in the project; return what it printed."""
        given = {key: value for key, value in os.environ.items() if not key.startswith(("AIS_", "DJANGO_"))}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def paste(self, block: str) -> None:
        """Put a block where it belongs; settings come after those that are there."""
        name = block.splitlines()[0].removeprefix("# ")
        file = self.folder / ("shop/settings.py" if name == "settings.py" else name)
        file.parent.mkdir(exist_ok=True)
        before = file.read_text(encoding="utf-8") if name == "settings.py" else ""
        file.write_text(f"{before}\n{block}", encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that holds the first example."""
    made = Project(tmp_path)
    made.run("-m", "django", "startproject", "shop", ".")
    made.run("manage.py", "startapp", "your_app")
    for block in [SETTINGS, *MODULES, *blocks("yaml")]:
        made.paste(block)
    return made


def test_the_first_example_runs_as_printed(project: Project) -> None:
    """Its commands and its calls do what the page says; so does the block about other drivers after it."""
    (commands,) = blocks("console")
    shown = "".join(project.run(*shlex.split(line)[1:]) for line in commands.splitlines())
    assert "created document_summarizer@1.0" in shown
    assert "run.succeeded" in shown
    assert "{'summary': 'Rain fell'}" in project.run("manage.py", "shell", "-c", CALLS)
    project.paste(OTHER_DRIVERS)
    told = project.run("manage.py", "shell", "-c", "from django_ais import registry; print(registry.queues['default'])")
    assert "DatabaseQueue" in told
