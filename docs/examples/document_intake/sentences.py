"""Cut a text into sentences and into words, keeping every character as it was written.

Not a parser: the layout of Markdown and plain text is read only as far as needed to tell prose from headings, tables
and labels.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_SENTENCE_CHARACTERS = 1_000  # a longer run without a full stop is not a sentence: it is cut at a space
MAX_PIECE_CHARACTERS = 40  # longest visible part of a streamed piece, so that text without spaces streams too

_WORD = re.compile(rf"\S{{1,{MAX_PIECE_CHARACTERS}}}\s*|\s+")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_HEADING = re.compile(r"\s{0,3}#{1,6}[ \t]+")
_UNDERLINE = re.compile(r"\s{0,3}(?:=+|-{2,}|\*{3,}|_{3,})\s*$")
_MARK = re.compile(r"\s*(?:[-*+•‣]|\(?(?:[0-9]{1,3}|[a-z])[.)]|>)[ \t]+")
_TABLE = re.compile(r"\s*\||.*?\S(?: {3,}|\t+)\S")

_END = re.compile(r"""(?<![.!?…])[.!?…]++["'”’»)\]*_]*+(?=\s|$)|[。！？]++[」』”’）]*+""")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]{1,24}$")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]$")
_NUMERAL = re.compile(r"(?:[0-9]{1,3}|[ivxIVX]{1,4})$")
_FOLLOWER = re.compile(r"[\s\"'“‘(\[*_]*+(\S{1,24})?")

# A full stop after one of these does not end a sentence.
_TITLES = frozenset(
    "mr mrs ms mx dr prof rev hon capt col gen lt sgt st mt no nos nr vol fig figs art sec ch p pp para pos ref cf vs "
    "viz approx ca dept est tel attn jan feb mar apr jun jul aug sep sept oct nov dec e.g i.e z.b bzw".split()
)
_NUMBERED = frozenset("no nos nr p pp art sec ch para pos fig figs vol".split())  # only before a number: "I said no."
_STARTERS = frozenset(
    "a after also although an and as at because before but by during each every finally for from he however if in it"
    " its my no nobody nor not on one our she since so some that the their then there these they this those to we what"
    " when where which while with you your".split()
)


class Piece(NamedTuple):
    """A stretch of a text: ``source[start:end] == text``; `prose` is False for headings, labels, tables and code."""

    start: int
    end: int
    text: str
    prose: bool


class _Block(NamedTuple):
    start: int
    end: int
    prose: bool


def words(text: str) -> list[str]:
    """Cut a text into the pieces in which it is streamed.

    Guarantees ``"".join(words(text)) == text``. A piece is a word with the white space after it; white space at the
    very start is a piece of its own, and a word longer than 40 characters comes in several pieces.
    """
    return _WORD.findall(text)


def split_sentences(text: str) -> list[str]:
    """Cut a text into sentences, headings, list items and table rows, in the order of the text.

    Each is a slice of the text, without the mark of a heading or a list item and without white space around it.
    Abbreviations, initials, decimals, ellipses and a full stop inside quotes do not end a sentence. Never fails.
    """
    return [piece.text for piece in pieces(text)]


def pieces(text: str) -> list[Piece]:
    """Cut a text as `split_sentences` does, and tell where each piece stands and whether it is prose."""
    return [piece for block in _blocks(text) for piece in _pieces_of(text, block)]


def _blocks(text: str) -> Iterator[_Block]:
    """Paragraphs, list items, headings and table rows: the stretches that no sentence crosses."""
    paragraph: _Block | None = None
    fenced = False
    for line in _LINE.finditer(text):
        whole = line.group()
        fence = _FENCE.match(whole) is not None
        layout = fence or fenced or _layout_of(whole)
        mark = None if layout else _MARK.match(whole)
        if paragraph and (layout or mark or not whole.strip()):
            yield paragraph
            paragraph = None
        fenced ^= fence
        if layout:
            yield from _row(line, whole, skip=fence)
        elif whole.strip():
            start = line.start() + (mark.end() if mark else 0)
            paragraph = _Block(paragraph.start if paragraph else start, line.end(), prose=True)
    if paragraph:
        yield paragraph


def _layout_of(line: str) -> bool:
    return any(pattern.match(line) for pattern in (_HEADING, _UNDERLINE, _TABLE))


def _row(line: re.Match[str], whole: str, *, skip: bool) -> Iterator[_Block]:
    """A heading, a table row or a line of code; rules and fences say nothing and are left out."""
    if not skip and not _UNDERLINE.match(whole):
        heading = _HEADING.match(whole)
        yield _Block(line.start() + (heading.end() if heading else 0), line.end(), prose=False)


def _pieces_of(text: str, block: _Block) -> Iterator[Piece]:
    if not block.prose:
        yield from _trimmed(text, block.start, block.end, prose=False)
        return
    ends = list(_sentence_ends(text, block))
    if not ends:  # an address, a list of labels, verse: every line stands for itself
        for line in _LINE.finditer(text, block.start, block.end):
            yield from _trimmed(text, line.start(), line.end(), prose=False)
        return
    start = block.start
    for end in ends:
        yield from _trimmed(text, start, end, prose=True)
        start = end
    yield from _trimmed(text, start, block.end, prose=False)


def _sentence_ends(text: str, block: _Block) -> Iterator[int]:
    start = block.start
    for match in _END.finditer(text, block.start, block.end):
        if _ends_sentence(text, start, match, block.end):
            start = match.end()
            yield start


def _ends_sentence(text: str, start: int, match: re.Match[str], block_end: int) -> bool:
    """Whether this punctuation closes the sentence that began at `start`."""
    rest = _FOLLOWER.match(text, match.end(), block_end)
    following = (rest.group(1) or "") if rest else ""
    if following[:1].islower():
        return False
    if match.group() != "." or not following:
        return True
    word = _LAST_WORD.search(text, max(start, match.start() - 24), match.start())
    return word is None or _full_stop_after(word, start, following)


def _full_stop_after(word: re.Match[str], start: int, following: str) -> bool:
    token = word.group().lower()
    if token in _NUMBERED:
        return not any(character.isdigit() for character in following)
    if token in _TITLES:
        return False
    if _INITIALS.match(word.group()):
        return following.rstrip(",").lower() in _STARTERS
    return not (word.start() <= start + 1 and _NUMERAL.match(word.group()))


def _trimmed(text: str, start: int, end: int, *, prose: bool) -> Iterator[Piece]:
    """The stretch without white space around it; cut at spaces where it is longer than any sentence."""
    start, end = _strip(text, start, end)
    prose = prose and end - start <= MAX_SENTENCE_CHARACTERS
    while start < end:
        cut = end if end - start <= MAX_SENTENCE_CHARACTERS else _space_before_limit(text, start)
        yield Piece(start, cut, text[start:cut], prose)
        start, end = _strip(text, cut, end)


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _space_before_limit(text: str, start: int) -> int:
    limit = start + MAX_SENTENCE_CHARACTERS
    space = text.rfind(" ", start + 1, limit)
    return space if space > 0 else limit
