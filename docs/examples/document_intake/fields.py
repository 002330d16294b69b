"""Find the fields of a document by patterns: title, dates, amounts, names, references, and the kind of document.

Patterns know what they were told: English labels and month names, Latin letters, the currencies of `money`. What is
found stands in the document letter for letter; nothing is guessed.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import TypedDict, TypeVar

from document_intake.kinds import Kind, kind_of
from document_intake.money import Amount, amounts_in
from document_intake.sentences import split_sentences

T = TypeVar("T")

LIMIT = 100  # most values of one field: a document with more is a table
LONGEST_TITLE = 120

_MONTHS = {
    name: number
    for number, names in enumerate(
        "january jan,february feb,march mar,april apr,may,june jun,july jul,august aug,september sept sep,october oct,"
        "november nov,december dec".split(","),
        start=1,
    )
    for name in names.split()
}
_MONTH = rf"(?i:{'|'.join(_MONTHS)})"
_DATE = re.compile(
    r"(?<![0-9.,/-])(?:(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    rf"|(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th|\.)?(?: of)?[ \n](?P<month>{_MONTH})\.?,?[ \n](?P<year>[0-9]{{4}})"
    r"|(?P<numeric>[0-9]{1,2}([./])[0-9]{1,2}\6[0-9]{4}))(?![0-9])"
    rf"|\b(?P<us_month>{_MONTH})\.?[ \n](?P<us_day>[0-9]{{1,2}})(?:st|nd|rd|th)?,?[ \n](?P<us_year>[0-9]{{4}})(?![0-9])"
)

_CAP = "[A-ZÀ-ÖØ-ÞČĆĐŁŚŠŞİŻŽ]"
_NAME = rf"(?:{_CAP}['’])?{_CAP}[^\W\d_]{{1,30}}(?:-{_CAP}[^\W\d_]{{1,30}}){{0,2}}"
_BETWEEN = rf"(?: (?:{_CAP}\.|van|von|der|den|de|del|da|di|du|la|le|bin|al|ten|zu|{_NAME})){{0,3}}"
_FULL_NAME = rf"{_NAME}{_BETWEEN} {_NAME}"
_HONORIFIC = r"(?:(?:Mr|Mrs|Ms|Mx|Dr|Prof|Professor|Captain|Judge)\.?)"
_ROLE = (
    "(?i:for the|the|our|your|managing|chief|senior|head|director|manager|engineer|president|chair|treasurer|secretary|"
    "registrar|surveyor|technician|auditor|officer|partner)"
)
_LABEL = (
    "(?i:attention|attn|contact|prepared by|approved by|written by|minutes taken by|authors?|auditors?|chair|present|"
    "apologies|traveller|owner(?: of the chapter)?|tenant|landlord|claimant|signed(?: by)?)"
)
_LABELLED = re.compile(rf"(?:^|, )[*_ ]*{_LABEL}[*_ ]*:[*_ ]*(?P<names>\S.{{0,300}})", re.MULTILINE)
_IN_LABEL = re.compile(rf"{_HONORIFIC}? ?{_FULL_NAME}")
_PERSON = re.compile(
    rf"\b(?P<titled>{_HONORIFIC} (?:{_CAP}\. )?{_NAME}(?:{_BETWEEN} {_NAME})?)"
    rf"|\b(?P<in_role>{_FULL_NAME}), {_ROLE}\b"
    rf"|(?:sincerely|faithfully|truly|regards|wishes),?\s{{1,20}}(?P<signed>{_FULL_NAME})[ ]*$",
    re.MULTILINE,
)
_NOT_IN_NAME = re.compile(rf"\b(?:{_ROLE}|(?i:quality|people|minutes|committee|meeting|{'|'.join(_MONTHS)}))\b")
_TITLE_OF_PERSON = re.compile(rf"{_HONORIFIC} ")

_ORG_WORD = (
    rf"(?!(?:The|An?|At|In|On|Of|For|From|By|To|With|And|But|Our|Your|Dear|Both|If|When)\b){_CAP}[\w'’&-]{{0,30}}"
)
_FORM = (
    r"(?:Ltd|Limited|plc|PLC|Inc|LLC|LLP|Corp|GmbH|AG|KG|OG|SE|S\.A\.|SA|SARL|S\.r\.l\.|SpA|BV|B\.V\.|NV|AS|A/S|AB|Oyj?|"
    r"ApS|Pty)"
)
_BODY = (
    "(?:Institute|University|Association|Foundation|Museum|Council|Bank|Authority|Ministry|Society|Hospital|College)"
)
_OF = rf"(?: (?:of|for)(?: {_ORG_WORD}){{1,3}})"
_ORGANISATION = re.compile(
    rf"\b(?:{_ORG_WORD}(?: (?:&|{_ORG_WORD})){{0,5}}? (?:{_FORM}(?!\w)|{_BODY}\b(?:{_OF})?)|{_BODY}{_OF})"
)
_REFERENCE = re.compile(r"(?<![\w/.-])[A-Z]{1,6}(?:[-/][A-Z0-9]{1,12}){1,4}(?:\.[0-9]{1,3})?(?![\w/-])")
_ENOUGH_DIGITS = 2  # MM-1877-042 and TX-40 refer to something; B-2 and A-Z rarely do

_HEADING = re.compile(r"^[ ]{0,3}#[ \t]++(?P<title>[^\n]*[^\s#])", re.MULTILINE)
_SUBJECT = re.compile(r"^[*_ ]*(?i:subject|re|regarding|title)[*_ ]*:[*_ \t]*(?P<title>\S[^\n]*)", re.MULTILINE)


class Day(TypedDict):
    """A date as written and as ``YYYY-MM-DD``."""

    text: str
    iso: str


class Fields(TypedDict):
    """What was found in a document. Lists are in the order of the text, without repetition."""

    title: str
    kind: Kind
    score: float
    dates: list[Day]
    amounts: list[Amount]
    people: list[str]
    organisations: list[str]
    references: list[str]


def extract_fields(text: str) -> Fields:
    """Find the fields of a document, or of one page of it.

    Guarantees: plain JSON values; the title, every name and reference and every `text` is a slice of the document;
    dates exist in the calendar; at most 100 values a field; `score` is between 0 and 1 and says how sure `kind` is.
    Any text is accepted, an empty one gives empty fields. The same text always gives the same answer.
    """
    title = _title(text)
    kind, score = kind_of(text, title)
    organisations = _distinct((match.group(), match.group()) for match in _ORGANISATION.finditer(text))
    return Fields(
        title=title,
        kind=kind,
        score=score,
        dates=_distinct((day["iso"], day) for day in _days(text)),
        amounts=_distinct((amount["text"], amount) for amount in amounts_in(text)),
        people=_people(text, organisations),
        organisations=organisations,
        references=_distinct((reference, reference) for reference in _references(text)),
    )


def _distinct(keyed: Iterable[tuple[str, T]]) -> list[T]:
    """The first value under each key, up to the limit."""
    found: dict[str, T] = {}
    for key, value in keyed:
        found.setdefault(key, value)
        if len(found) == LIMIT:
            break
    return list(found.values())


def _title(text: str) -> str:
    """The first top heading, else the subject line, else the first line that says anything."""
    match = _HEADING.search(text) or _SUBJECT.search(text)
    lines = [match.group("title")] if match else split_sentences(text.lstrip()[: 10 * LONGEST_TITLE])
    titles = (line.splitlines()[0].strip() for line in lines if any(character.isalnum() for character in line))
    return _shortened(next(titles, ""))


def _shortened(line: str) -> str:
    if len(line) <= LONGEST_TITLE:
        return line
    return line[: line.rfind(" ", 0, LONGEST_TITLE) if " " in line[:LONGEST_TITLE] else LONGEST_TITLE].rstrip()


def _days(text: str) -> Iterator[Day]:
    for match in _DATE.finditer(text):
        iso = _iso(match)
        if iso:
            yield Day(text=match.group(), iso=iso)


def _iso(match: re.Match[str]) -> str | None:
    """The date in the calendar, or None for one that does not exist. ``3/4/2025`` is read day first."""
    if match["iso"]:
        year, month, day = (int(part) for part in match["iso"].split("-"))
    elif match["numeric"]:
        day, month, year = (int(part) for part in re.split("[./]", match["numeric"]))
        day, month = (month, day) if month > 12 else (day, month)
    else:
        year, day = int(match["year"] or match["us_year"]), int(match["day"] or match["us_day"])
        month = _MONTHS[(match["month"] or match["us_month"]).lower()]
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _people(text: str, organisations: list[str]) -> list[str]:
    """Full names, each once: "Ms Moss" is left out where "Harriet Moss" is found as well."""
    names = _distinct((_bare(name), name) for name in _names(text) if not _NOT_IN_NAME.search(_bare(name)))
    names = [name for name in names if not any(_bare(name) in organisation for organisation in organisations)]
    return [name for name in names if not any(_bare(other).endswith(f" {_bare(name)}") for other in names)]


def _names(text: str) -> Iterator[str]:
    found: list[tuple[int, str]] = []
    for label in _LABELLED.finditer(text):
        found += ((match.start(), match.group()) for match in _IN_LABEL.finditer(text, *label.span("names")))
    for match in _PERSON.finditer(text):
        kind = match.lastgroup or 0
        found.append((match.start(kind), match.group(kind)))
    return (name.strip() for _, name in sorted(found))


def _bare(name: str) -> str:
    return _TITLE_OF_PERSON.sub("", name)


def _references(text: str) -> Iterator[str]:
    for match in _REFERENCE.finditer(text):
        if sum(character.isdigit() for character in match.group()) >= _ENOUGH_DIGITS:
            yield match.group()
