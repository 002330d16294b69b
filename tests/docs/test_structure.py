"""The pages hang together: each can be reached, and every link leads somewhere. (Sphinx is not needed for this.)"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, blocks, pages, prose

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,4} (.+)$", re.MULTILINE)
EVIDENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
OTHER_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ROADMAP.md")]
EVERY_PAGE = [*pages(), *OTHER_PAGES]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = HEADING.findall(prose(page))
    plain = [unicodedata.normalize("NFC", re.sub(r"[`*]", "", heading)).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def entries() -> list[Path]:
    """What the toctrees of the first page name."""
    tables = [block.text for block in blocks(DOCS / "index.md", "{toctree}")]
    lines = [line.strip() for table in tables for line in table.splitlines()]
    return [DOCS / f"{line}.md" for line in lines if line and not line.startswith(":")]


def test_every_page_is_in_a_toctree_once() -> None:
    """Given the pages, when the first page's toctrees are read, then they name each of them once."""
    assert sorted(entries()) == sorted(page for page in pages() if page != DOCS / "index.md")


@pytest.mark.parametrize("page", EVERY_PAGE, ids=named)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """Given a page, when its links are followed, then there is a file, and the heading that a link names."""
    broken = []
    for target in LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=named)
def test_a_page_has_one_title_and_every_block_a_language(page: Path) -> None:
    """Given a page, when it is skimmed, then it begins with its only title, and blocks say what they are."""
    text = page.read_text(encoding="utf-8")

    assert text.startswith("# ")
    assert len(re.findall(r"^# ", prose(page), re.MULTILINE)) == 1
    assert [str(block) for block in blocks(page) if not block.language and page.name not in UNNAMED] == []


UNNAMED = {"workflow-errors.md", "README.md"}  # shells and output, older than this rule


def test_every_test_that_a_page_names_is_there() -> None:
    """Given the tests that pages name as evidence, when looked for, then each is in its file."""
    named = {found for page in pages() for found in EVIDENCE.findall(page.read_text(encoding="utf-8"))}
    missing = [
        f"{file}::{test}"
        for file, test in sorted(named)
        if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]

    assert len(named) > 20
    assert missing == []


def test_the_page_of_the_architecture_names_every_module() -> None:
    """Given the package, when the architecture's page is read, then it names each module of it and of the runtime."""
    page = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    floors = page.partition("## Floors")[2].partition("## Where we left")[0]
    named = set(re.findall(r"`(\w+)/?`", floors))
    package = ROOT / "django_ais"
    modules = {path.stem for folder in (package, package / "runtime") for path in folder.glob("*.py")}
    modules |= {path.parent.name for path in package.glob("*/__init__.py")}

    assert sorted(modules - named - {"__init__", "migrations", "backends"}) == []
