"""The demo is a project of its own: put its parent folder where its package is imported from."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
if str(EXAMPLES) not in sys.path:
    sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(scope="session")
def documents() -> dict[str, str]:
    """The demo's own documents by file name."""
    folder = EXAMPLES / "document_intake" / "documents"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


@pytest.fixture
def random_sentences() -> Callable[..., list[str]]:
    """Make sentences of random words, none of which has been seen before."""

    def make(seed: int, count: int = 40, vocabulary: int = 200) -> list[str]:
        chance = random.Random(seed)
        known = ["".join(chance.choices("abcdefghijklmnoprtuvz", k=chance.randint(4, 9))) for _ in range(vocabulary)]
        return [" ".join(chance.choices(known, k=chance.randint(6, 18))).capitalize() + "." for _ in range(count)]

    return make
