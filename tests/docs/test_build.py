"""The pages as HTML, without a warning."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT, pages


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_pages_are_built_without_a_warning() -> None:
    """Given the locked tools, when the pages are built from nothing, then no warning stops it."""
    command = [sys.executable, "run.py", "docs", "-E"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    for page in pages():
        assert (ROOT / "build/docs" / page.relative_to(ROOT / "docs")).with_suffix(".html").exists()
