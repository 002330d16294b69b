"""What the pages show runs: every Python and YAML block, every command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_ais import registry
from django_ais.runtime.host import host
from tests.docs.pages import DOCS, blocks, pages
from tests.docs.trying import Reader

# These are run by tests of their own.
TUTORIAL = DOCS / "tutorial" / "first-workflow.md"
ERRORS = DOCS / "reference" / "workflow-errors.md"
FORMAT = DOCS / "reference" / "workflow-format.md"
WITH_BLOCKS = [
    page for page in pages() if page not in (TUTORIAL, ERRORS, FORMAT) and blocks(page, "python", "yaml", "console")
]


@pytest.fixture
def reader(settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Somebody in a project with the app `order_desk`; what their code registered is forgotten afterwards."""
    workers, modules = dict(registry._workers), set(sys.modules)
    monkeypatch.setattr(registry, "_workers", workers)
    monkeypatch.chdir(DOCS / "examples")
    settings.DJANGO_AIS = {
        "QUEUES": {"default": "immediate"},
        "BUSES": {"default": "memory"},
        "GATEWAYS": {"default": {"BACKEND": "function", "OPTIONS": {"function": "order_desk.answers.answer"}}},
    }
    yield Reader(lambda name, value: setattr(settings, name, value))
    host.stop()  # before the tables are emptied: no thread of ours may hold a row then
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) is None:  # the page's own
            del sys.modules[name]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_does_what_it_says(page: Path, reader: Reader) -> None:
    """Given a page, when its blocks are pasted from top to bottom, then each of them works."""
    for block in blocks(page, "python", "yaml", "console"):
        try:
            reader.paste(block)
        except BaseException as error:
            error.add_note(f"in the block at {block}")
            raise


def test_pages_have_blocks() -> None:
    """The negative control: there is something to paste."""
    assert len(WITH_BLOCKS) > 5
