"""Build the pages into build/docs, every warning an error. `python3 run.py docs` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

DOCS = Path(__file__).resolve().parent
OUT = DOCS.parent / "build" / "docs"
OPTIONS = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-d", str(OUT.parent / "doctrees")]


def main(arguments: list[str]) -> int:
    """Build; more options of sphinx-build may be given, such as -E for a build from nothing."""
    code = sphinx_build([*OPTIONS, *arguments, str(DOCS), str(OUT)])
    if code == 0:
        print(f"file://{OUT}/index.html")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
