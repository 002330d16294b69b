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


class Project:
    """A generated project, into which blocks are pasted as their first line says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run("-m", "django", "startproject", "shop", ".")
        self.run("manage.py", "startapp", "your_app")

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


def test_the_first_example_runs_as_printed(tmp_path: Path) -> None:
    """Its files, its commands and its calls do what the page says."""
    project = Project(tmp_path)
    first, *files = [block for block in blocks("python") if not block.startswith("# anywhere")]
    for block in [first, *files[:-1], *blocks("yaml")]:
        project.paste(block)
    (commands,) = blocks("console")
    shown = "".join(project.run(*shlex.split(line)[1:]) for line in commands.splitlines())
    assert "created document_summarizer@1.0" in shown
    assert "run.succeeded" in shown
    (calls,) = [block for block in blocks("python") if block.startswith("# anywhere")]
    assert "{'summary': 'Rain fell'}" in project.run("manage.py", "shell", "-c", calls)


def test_the_other_drivers_are_one_setting(tmp_path: Path) -> None:
    """The block about another driver, after the first settings, is a configuration that holds."""
    project = Project(tmp_path)
    settings = [block for block in blocks("python") if block.startswith("# settings.py")]
    for block in [block for block in blocks("python") if not block.startswith(("# anywhere", "# settings.py"))]:
        project.paste(block)
    for block in settings:
        project.paste(block)
    project.run("manage.py", "migrate", "-v0")
    told = project.run("manage.py", "shell", "-c", "from django_ais import registry; print(registry.queues['default'])")
    assert len(settings) == 2
    assert "DatabaseQueue" in told
