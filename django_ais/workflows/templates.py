"""Templates: JSON whose texts may hold ``${{ expression }}``. Pure: a template and a context give a value.

A text that is one whole ``${{ ... }}`` (spaces around it do not count) keeps the type of its value; in mixed text
every value becomes text. ``$${{`` stands for ``${{``; ``{{ }}`` means nothing and passes through. Keys are never
templates. What an expression yields is not looked at again, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django_ais.exceptions import ExpressionError
from django_ais.workflows.expressions import Expression, Reference, parse
from django_ais.workflows.functions import kind_of, limited, to_json, to_text

MAX_HOLES = 64
_MARK = re.compile(r"\$?\$\{\{")
_END = re.compile(r"""\}\}|"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*'""")
_CACHED_TEXTS = 2_048


@dataclass(frozen=True, slots=True)
class Hole:
    """One ``${{ ... }}`` of a text: ``body`` is what stands inside, ``start`` where the body begins."""

    body: str
    start: int

    def expression(self) -> Expression:
        """Parse the body. Positions in errors count from the beginning of the whole text."""
        try:
            return parse(self.body)
        except ExpressionError as error:
            raise _moved(error, self.start) from None


def _moved(error: ExpressionError, offset: int, where: str = "") -> ExpressionError:
    message = f"{error}{where}"
    position = None if error.position is None else error.position + offset
    return ExpressionError(message, position=position, hint=error.hint, rule=error.rule)


def holds_expression(text: str) -> bool:
    """Whether ``text`` has at least one ``${{`` that is not escaped."""
    return "${{" in text and any(match.group() == "${{" for match in _MARK.finditer(text))


@lru_cache(maxsize=_CACHED_TEXTS)
def split(text: str) -> tuple[str | Hole, ...]:
    """Cut a text into plain pieces (escapes resolved) and holes (not parsed yet).

    Raises `ExpressionError` for a ``${{`` that does not end, and for more than 64 holes.
    """
    pieces: list[str | Hole] = []
    position = 0
    while (mark := _MARK.search(text, position)) is not None:
        pieces.append(text[position : mark.start()])
        position = mark.end()
        if mark.group() == "$${{":
            pieces.append("${{")
            continue
        end = _closing(text, mark)
        pieces.append(Hole(text[position:end], position))
        position = end + 2
    pieces.append(text[position:])
    if sum(isinstance(piece, Hole) for piece in pieces) > MAX_HOLES:
        raise ExpressionError(f"the text holds more than {MAX_HOLES} expressions", position=0, rule="X207")
    return tuple(piece for piece in pieces if piece != "")


def _closing(text: str, mark: re.Match[str]) -> int:
    for match in _END.finditer(text, mark.end()):
        if match.group() == "}}":
            return match.start()
    plain = text.find("}}", mark.end())  # a text inside does not end: let the parser say so
    if plain < 0:
        hint = "close it with '}}', or write '$${{' for the signs themselves"
        raise ExpressionError("'${{' does not end", position=mark.start(), hint=hint, rule="X212")
    return plain


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value whose texts may hold expressions. `parse_template` makes one without syntax errors."""

    value: Any

    def render(self, context: Mapping[str, Any]) -> Any:
        """Fill in. Raises `ExpressionError` (its message names the place in the template) and nothing else."""
        return _render(self.value, context, "")

    def references(self) -> tuple[Reference, ...]:
        """Every path that rendering may read; positions count within the text that holds the expression."""
        return tuple(
            Reference(reference.path, tuple(at + hole.start for at in reference.positions), reference.is_partial)
            for text in _texts(self.value)
            for hole in split(text)
            if isinstance(hole, Hole)
            for reference in hole.expression().references()
        )


def parse_template(value: Any) -> Template:
    """Check every expression inside a JSON value. Raises `ExpressionError` for the first that does not parse."""
    template = Template(value)
    template.references()
    return template


def render(template: Any, context: Mapping[str, Any]) -> Any:
    """Fill in a template given as JSON. Raises `ExpressionError` for syntax and for values."""
    return _render(template, context, "")


def template_references(value: Any) -> tuple[Reference, ...]:
    """Every path that a template given as JSON may read."""
    return Template(value).references()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _render(value: Any, context: Mapping[str, Any], path: str) -> Any:
    if isinstance(value, str):
        return _render_text(value, context, path)
    if isinstance(value, Mapping):
        return {key: _render(item, context, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_render(item, context, f"{path}[{index}]") for index, item in enumerate(value)]
    return value


def _render_text(text: str, context: Mapping[str, Any], path: str) -> Any:
    if "${{" not in text:
        return text
    pieces = split(text)
    holes = [piece for piece in pieces if isinstance(piece, Hole)]
    if len(holes) == 1 and all(isinstance(piece, Hole) or not piece.strip() for piece in pieces):
        return _fill(holes[0], context, path)
    rendered = [piece if isinstance(piece, str) else _as_text(_fill(piece, context, path), piece) for piece in pieces]
    return limited("".join(rendered)) if holes else "".join(rendered)


def _fill(hole: Hole, context: Mapping[str, Any], path: str) -> Any:
    expression = hole.expression()
    try:
        return expression.evaluate(context)
    except ExpressionError as error:
        raise _moved(error, hole.start, f" (in {path})" if path else "") from None


def _as_text(value: Any, hole: Hole) -> str:
    try:
        return to_json(value) if kind_of(value) in ("list", "object") else to_text(value)
    except ExpressionError as error:
        raise _moved(error, hole.start) from None
