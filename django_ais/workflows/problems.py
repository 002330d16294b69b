"""What is wrong with a workflow file, said so that a tired person can mend it: place, code, line, caret, hint."""

from __future__ import annotations

import difflib
import itertools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "info"]

MAX_PROBLEMS = 1_000
_COMPARED_NAMES = 500  # difflib takes some microseconds for each
_SHOWN_COLUMNS = 120
_SHOWN_NAME = 80
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML calls a line break, in both loaders


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. ``line`` and ``column`` count from 1, ``column`` in characters; ``source`` is the line's text.

    Codes are listed in ``docs/reference/workflow-errors.md`` and are never reused.
    """

    file: str
    line: int
    column: int
    code: str
    severity: Severity
    message: str
    hint: str = ""
    source: str = ""

    def render(self) -> str:
        """Three lines for a terminal: what, where, and a caret with the hint. Control characters are shown as dots."""
        head = f"{self.file}:{self.line}:{self.column}: {self.severity}[ais.{self.code}]: {self.message}"
        shown, indent = _window(self.source, self.column - 1)
        caret = f"       | {indent}^ {self.hint}".rstrip()
        return f"{head}\n{self.line:>6} | {shown}".rstrip() + f"\n{caret}"

    def to_dict(self) -> dict[str, str | int]:
        """The same as JSON; of a very long line only the part around the column."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "code": f"ais.{self.code}",
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
            "source": _window(self.source, self.column - 1)[0],
        }


def _window(source: str, column: int) -> tuple[str, str]:
    """The part of a line around the caret, and what to print in front of the caret so that it stands below its sign."""
    start = max(0, column - _SHOWN_COLUMNS // 2) if len(source) > _SHOWN_COLUMNS else 0
    shown = "".join(sign if sign == "\t" or sign.isprintable() else "·" for sign in source[start:][:_SHOWN_COLUMNS])
    before = shown[: column - start].ljust(column - start)
    return shown, "".join(_blank(sign) for sign in before)


def _blank(sign: str) -> str:
    if sign == "\t":
        return "\t"
    return "" if unicodedata.combining(sign) else "  " if unicodedata.east_asian_width(sign) in "WF" else " "


def quoted(word: object) -> str:
    """A name as it appears in a message: in quotes, control characters escaped, cut where it is long."""
    text = str(word)
    return repr(text if len(text) <= _SHOWN_NAME else text[:_SHOWN_NAME] + "...")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, or an empty text."""
    names = list(itertools.islice(known, _COMPARED_NAMES))
    close = difflib.get_close_matches(word[:_SHOWN_NAME], names, n=1, cutoff=0.6)
    return f"did you mean {quoted(close[0])}?" if close else ""


class TooManyProblems(Exception):
    """Reading stops: the file has more problems than anybody reads at once."""


class Report:
    """Collects the problems of one file. The same finding at the same place (an alias, read twice) counts once."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._breaks = [match.end() for match in _BREAK.finditer(text)]
        self._problems: dict[tuple[int, str, str], Problem] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All of them, in the order of the file."""
        return tuple(self._problems[key] for key in sorted(self._problems))

    @property
    def has_errors(self) -> bool:
        """Whether the file cannot be used."""
        return any(problem.severity == "error" for problem in self._problems.values())

    def line_of(self, index: int) -> int:
        """The line, from 1, of a character."""
        return bisect_right(self._breaks, index) + 1

    def add(self, index: int, code: str, message: str, hint: str = "", *, severity: Severity = "error") -> None:
        """Report a problem at the character ``index`` of the text. Raises `TooManyProblems` after the thousandth."""
        line = self.line_of(index) - 1
        start = self._breaks[line - 1] if line else 0
        end = self._breaks[line] if line < len(self._breaks) else len(self.text)
        source = self.text[start:end].rstrip("\r\n\x85\u2028\u2029")
        problem = Problem(self.file, line + 1, index - start + 1, code, severity, message, hint, source)
        self._problems.setdefault((index, code, message), problem)
        if len(self._problems) >= MAX_PROBLEMS:
            raise TooManyProblems
