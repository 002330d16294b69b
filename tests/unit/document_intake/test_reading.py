"""Any text file becomes pages, and no word is lost between them."""

import time
from collections.abc import Callable

import pytest
from document_intake.reading import LONGEST_PAGE_WORDS, PAGE_WORDS, split_pages
from hypothesis import given, settings
from hypothesis import strategies as st

_LAYOUT = st.sampled_from(["word", "Two words.", "# Heading", "\n", "\n\n", " ", "- item\n", "\f", "---\n", "x" * 90])


@settings(deadline=None)  # a busy machine is not a failure
@given(st.one_of(st.text(max_size=400), st.lists(_LAYOUT, max_size=200).map("".join)))
def test_pages_hold_every_word_in_order(text: str) -> None:
    """Pages are trimmed, not empty, slices of the text, and together they are the text."""
    text = text.removeprefix("\ufeff")
    pages = split_pages(text)
    assert all(page and page == page.strip() and page in text for page in pages)
    assert "".join("".join(pages).split()) == "".join(text.split())


def test_a_form_feed_starts_a_page() -> None:
    """Blank pages are left out."""
    assert split_pages("one\f\n two \f \f\nthree\f") == ["one", "two", "three"]


def test_nothing_has_no_pages() -> None:
    """White space, or a byte order mark alone, is nothing."""
    assert split_pages("") == split_pages(" \n\f\n ") == split_pages("\ufeff") == []


def test_without_form_feeds_pages_have_about_two_hundred_words(random_sentences: Callable[..., list[str]]) -> None:
    """Given forty paragraphs, when cut, then every page is full but not overfull and ends with a paragraph."""
    sentences = random_sentences(seed=1, count=160)
    paragraphs = [" ".join(sentences[start : start + 4]) for start in range(0, 160, 4)]
    pages = split_pages("\n\n".join(paragraphs))
    assert all(PAGE_WORDS / 2 <= len(page.split()) <= PAGE_WORDS for page in pages[:-1])
    assert [paragraph for page in pages for paragraph in page.split("\n\n")] == paragraphs


def test_one_endless_paragraph_is_cut_between_sentences(random_sentences: Callable[..., list[str]]) -> None:
    """No page begins or ends inside a sentence."""
    sentences = random_sentences(seed=2, count=100)
    pages = split_pages(" ".join(sentences))
    assert len(pages) > 3
    assert all(len(page.split()) <= PAGE_WORDS * 1.25 for page in pages)
    assert " ".join(pages) == " ".join(sentences)
    assert all(page.endswith(".") and page[0].isupper() for page in pages)


def test_a_heading_opens_a_page_and_never_closes_one() -> None:
    """Given long sections, when cut, then each heading stands above its own text."""
    section = "Some words that fill the page quietly. " * 20
    pages = split_pages("\n\n".join(f"## Section {number}\n\n{section.strip()}" for number in range(5)))
    assert [page.splitlines()[0] for page in pages] == [f"## Section {number}" for number in range(5)]


def test_a_list_item_keeps_its_mark() -> None:
    """Given one long list, when it is cut, then pages begin with the mark of an item."""
    pages = split_pages("\n".join(f"- Item {number} says a few words more." for number in range(100)))
    assert len(pages) > 2
    assert all(page.startswith("- Item") for page in pages)


def test_text_without_spaces_is_cut_too() -> None:
    """Languages without spaces, and mere rubbish, do not give one endless page."""
    assert max(map(len, split_pages("長い文です。" * 2_000))) < 4_000
    assert max(map(len, split_pages("x" * 50_000))) < 4_000


def test_an_overlong_page_between_form_feeds_is_cut() -> None:
    """A form feed at the end of a book does not make the book one page."""
    pages = split_pages("A sentence of six words only. " * 1_000 + "\f" + "The end.")
    assert max(len(page.split()) for page in pages) < LONGEST_PAGE_WORDS
    assert pages[-1] == "The end."


def test_every_document_of_the_demo_has_several_pages(documents: dict[str, str]) -> None:
    """A dozen documents, three to six pages each, of 120 to 250 words."""
    assert len(documents) == 12
    for name, text in documents.items():
        pages = split_pages(text)
        assert 3 <= len(pages) <= 6, name
        assert all(120 <= len(page.split()) <= 250 for page in pages), name


@pytest.mark.parametrize("unit", ["# h\n\n", "A short one. ", "- a\n", "\n", "\f", "word ", "x"])
def test_time_grows_with_the_text_and_not_faster(unit: str) -> None:
    """Half a megabyte of anything takes seconds at most."""
    began = time.perf_counter()
    split_pages(unit * (500_000 // len(unit)))
    assert time.perf_counter() - began < 10
