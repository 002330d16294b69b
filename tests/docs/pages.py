"""The pages and their fenced blocks.

A block whose first line is a comment with a file's name is that file; ``(at the end)`` after the name means that the
rest belongs at the end of a file that is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
LEFT_OUT = (DOCS / "changelog.d", EXAMPLES / "document_intake" / "documents", EXAMPLES / "chat" / "node_modules")
FENCE = re.compile(r"^(`{3,})(\S*)[^`\n]*\n(.*?)^\1`*$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"# (?P<path>[\w./-]+\.\w+)(?P<end> \(at the end\))?")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def title(self) -> re.Match[str] | None:
        """The file that the block is, if its first line says so."""
        return TITLE.fullmatch(self.text.partition("\n")[0])

    @property
    def file(self) -> str:
        """The file's name, or nothing."""
        return self.title["path"] if self.title else ""

    @property
    def is_addition(self) -> bool:
        """Whether it goes to the end of a file that is there."""
        return bool(self.title and self.title["end"])

    @property
    def padded(self) -> str:
        """The text with empty lines before it, so that a traceback names the page's own lines."""
        return "\n" * self.line + self.text

    def __str__(self) -> str:
        return f"{self.page.relative_to(DOCS)}:{self.line}"


def pages() -> list[Path]:
    """Every page that is built."""
    found = [path for path in sorted(DOCS.rglob("*.md")) if not any(path.is_relative_to(out) for out in LEFT_OUT)]
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(DOCS).parts)]


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page, of these languages or of any."""
    text = page.read_text(encoding="utf-8")
    found = [Block(page, text.count("\n", 0, match.start()) + 1, match[2], match[3]) for match in FENCE.finditer(text)]
    return [block for block in found if not languages or block.language in languages]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))
