"""Read the files that were handed in, or say in one sentence each why they cannot be taken."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from document_intake.reading import split_pages

LARGEST_BYTES = 1_000_000
MOST_PAGES = 500
ENCODINGS = ("utf-8-sig", "cp1252")  # the second one is what older Windows programs write
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


class HandedIn(NamedTuple):
    """A document as it came: the file's name, its text, and how many pages that makes."""

    name: str
    text: str
    pages: int


class Refused(Exception):
    """The files cannot be taken; the message has a sentence for each."""


def read_all(paths: Iterable[Path]) -> list[HandedIn]:
    """Read every file. Raises `Refused` naming all that cannot be taken."""
    documents: list[HandedIn] = []
    complaints: list[str] = []
    for path in paths:
        try:
            documents.append(_read(path))
        except Refused as refused:
            complaints.append(str(refused))
    pages = sum(document.pages for document in documents)
    if pages > MOST_PAGES:
        complaints.append(f"These files have {pages} pages together; the demo takes {MOST_PAGES}.")
    if complaints:
        raise Refused("\n".join(complaints))
    return documents


def _read(path: Path) -> HandedIn:
    try:
        if path.is_dir():
            raise Refused(f"{path} is a folder; name the text files in it.")
        if path.stat().st_size > LARGEST_BYTES:
            raise Refused(f"{path} has more than {LARGEST_BYTES:,} bytes; the demo takes smaller files.")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise Refused(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    text = _decoded(raw, path)
    pages = len(split_pages(text))
    if not pages:
        raise Refused(f"{path} is empty; there is nothing to summarise.")
    return HandedIn(" ".join(path.name.split()), text, pages)


def _decoded(raw: bytes, path: Path) -> str:
    for encoding in ("utf-16",) if raw.startswith(BYTE_ORDER_MARKS) else ENCODINGS:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise Refused(f"{path} is not a text file; the demo takes text and Markdown.")
