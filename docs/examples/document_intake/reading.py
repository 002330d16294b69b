"""Turn a text or Markdown file into pages. Not a renderer: a page is a slice of the file, marks and all."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from document_intake.sentences import pieces

PAGE_WORDS = 200  # aimed at where a file has no form feeds
LONGEST_PAGE_WORDS = 1_000  # a page between form feeds that is longer is cut like a file without them
CHARACTERS_A_WORD = 12  # twice the usual, so that it only counts for text without spaces
HEADING_STARTS_PAGE_WORDS = 100  # a heading opens a new page once the current one has this much
MOST_HEADINGS_CARRIED = 3  # from the end of a page to the next one
LONGEST_MARK = 20  # characters of white space, list mark and white space before a sentence
LEFTOVER_WORDS = 40  # a last page shorter than this joins the one before it

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_HEADING = re.compile(r"[^\S\n]*#{1,6}[^\S\n]|[^\n]{1,80}\n[^\S\n]*(?:={3,}|-{3,})[^\S\n]*(?:\n|$)")
_LIST_MARK = re.compile(r"(?P<line>^|\n)[^\S\n]*(?:[-*+•>]|#{1,6}|\(?\w{1,3}[.)])[^\S\n]+$")
_WORD = re.compile(r"\S{1,1200}\s*")


class _Segment(NamedTuple):
    """A stretch that stays on one page."""

    start: int
    end: int
    size: int
    heading: bool


_Level = Callable[[str], Iterator[int]]  # the offsets at which a text may be cut


def split_pages(text: str) -> list[str]:
    """Cut a text into its pages.

    A form feed starts a new page. A text without one is cut into pages of about 200 words: before headings, between
    paragraphs, and only inside a paragraph too long for a page between its sentences, then between its words. So is a
    page between form feeds that has more than 1,000 words.

    Guarantees: every page is a slice of the text without the white space around it; no page is empty; in order, the
    pages hold every character that is not white space (a byte order mark in front is dropped); a text of white space
    has no pages; no word below 1,200 characters is cut. Pure; time grows linearly with the text.
    """
    pages = _stripped(text.removeprefix("\ufeff").split("\f"))
    longest = LONGEST_PAGE_WORDS if len(pages) > 1 else PAGE_WORDS
    return [part for page in pages for part in ([page] if _size(page) <= longest else _stripped(_sized_pages(page)))]


def _stripped(pages: Iterable[str]) -> list[str]:
    return [stripped for page in pages if (stripped := page.strip())]


def _sized_pages(text: str) -> Iterator[str]:
    pages = list(_gathered(_segments(text, 0, len(text), (_paragraph_starts, _sentence_starts, _word_starts))))
    if len(pages) > 1 and _size_of(pages[-1]) < LEFTOVER_WORDS:
        pages[-2:] = [pages[-2] + pages[-1]]
    return (text[page[0].start : page[-1].end] for page in pages)


def _segments(text: str, start: int, end: int, levels: tuple[_Level, ...]) -> Iterator[_Segment]:
    """Cut at the first level, and what is still longer than a page at the next."""
    size = _size(text[start:end])
    if not levels or (size <= PAGE_WORDS and levels[0] is not _paragraph_starts):
        yield _Segment(start, end, size, _HEADING.match(text, start, end) is not None)
        return
    starts = [start + offset for offset in levels[0](text[start:end])]
    bounds = [start, *(offset for offset in starts if start < offset < end), end]
    for left, right in pairwise(bounds):
        yield from _segments(text, left, right, levels[1:])


def _paragraph_starts(text: str) -> Iterator[int]:
    return (match.end() for match in _PARAGRAPH.finditer(text))


def _sentence_starts(text: str) -> Iterator[int]:
    """Where a sentence begins; for the first one of a list item, where its mark stands."""
    for piece in pieces(text):
        mark = _LIST_MARK.search(text, max(0, piece.start - LONGEST_MARK), piece.start)
        yield mark.end("line") if mark else piece.start


def _word_starts(text: str) -> Iterator[int]:
    return (match.start() for match in _WORD.finditer(text))


def _size(text: str) -> int:
    return max(len(text.split()), len(text) // CHARACTERS_A_WORD)


def _gathered(segments: Iterator[_Segment]) -> Iterator[list[_Segment]]:
    """Put segments on pages; a heading never stands last on one."""
    page: list[_Segment] = []
    size = 0
    for segment in segments:
        room = PAGE_WORDS if not segment.heading else HEADING_STARTS_PAGE_WORDS
        if page and size + (segment.size if not segment.heading else 0) > room:
            carried = _trailing_headings(page)
            if len(carried) < len(page):
                yield page[: len(page) - len(carried)]
                page = carried
                size = _size_of(page)
        page.append(segment)
        size += segment.size
    if page:
        yield page


def _trailing_headings(page: list[_Segment]) -> list[_Segment]:
    keep = len(page)
    while keep and page[keep - 1].heading and len(page) - keep < MOST_HEADINGS_CARRIED:
        keep -= 1
    return page[keep:]


def _size_of(page: list[_Segment]) -> int:
    return sum(segment.size for segment in page)
