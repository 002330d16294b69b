"""A file as a tree of nodes that know where they stand, and YAML 1.2's rules for plain scalars. No YAML library here.

YAML 1.2's core schema, not 1.1's: ``no``, ``on`` and ``1:30`` are text, ``0o17`` is an octal number. Values are JSON
values: what JSON or a database could not keep (infinity, NUL, half a surrogate pair, integers above 64 bits) raises
`NotJson`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from django_ais.workflows.spec import Json

Kind: TypeAlias = Literal["map", "list", "text", "number", "boolean", "null"]

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_DIGITS = 25
_BASES = {"0o": 8, "0x": 16}
NAMES: dict[Kind, str] = {
    "map": "a mapping",
    "list": "a list",
    "text": "a text",
    "number": "a number",
    "boolean": "a boolean",
    "null": "nothing",
}


class NotJson(ValueError):
    """A scalar that JSON or a database cannot keep. The message says why."""


@dataclass(slots=True)
class Node:
    """One value of the file. ``start`` and ``end`` are indexes into its text, ``raw`` is a scalar's text.

    ``size`` counts the values inside it (itself included, aliases as often as they are used), ``height`` how deep
    mappings and lists nest, ``weight`` the characters of all texts and keys. An alias is the same object as its
    anchor: the tree may share nodes, and is never changed once it is read.
    """

    kind: Kind
    start: int
    end: int
    scalar: str | int | float | bool | None = None
    raw: str = ""
    fields: dict[str, Field] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)
    size: int = 1
    height: int = 0
    weight: int = 0

    def json(self) -> Json:
        """The value as plain JSON, copied: shared nodes become equal values, not the same ones."""
        match self.kind:
            case "map":
                return {name: member.value.json() for name, member in self.fields.items()}
            case "list":
                return [item.json() for item in self.items]
        return self.scalar

    def all_texts(self) -> Iterator[Node]:
        """Every text inside, itself included; keys are not."""
        if self.kind == "text":
            yield self
        for member in self.fields.values():
            yield from member.value.all_texts()
        for item in self.items:
            yield from item.all_texts()

    def all_keys(self) -> Iterator[Field]:
        """Every key of every mapping inside."""
        for member in self.fields.values():
            yield member
            yield from member.value.all_keys()
        for item in self.items:
            yield from item.all_keys()


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a mapping, where it stands, and its value."""

    name: str
    start: int
    value: Node


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar by YAML 1.2's core schema. Raises `NotJson`."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        base = _BASES.get(text[:2], 10)
        value = int(text, base) if len(text) <= _MAX_DIGITS else 2**64
        if not -(2**63) <= value < 2**63:
            raise NotJson("the number does not fit into 64 bits")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise NotJson("JSON has no infinity and no NaN")
    if _FLOAT.fullmatch(text):
        if not math.isfinite(float(text)):
            raise NotJson("the number is not finite")
        return float(text)
    return check_text(text)


def is_plain_text(text: str) -> bool:
    """Whether YAML 1.2 reads ``text`` as text when it stands without quotes (its signs are the emitter's concern)."""
    try:
        return isinstance(resolve(text), str)
    except NotJson:
        return False


def check_text(text: str) -> str:
    """Pass a text on, or raise `NotJson` where databases refuse it."""
    if _UNSTORABLE.search(text):
        raise NotJson("the text holds NUL or half a surrogate pair, which databases refuse")
    return text


def find_forbidden(text: str) -> int | None:
    """The index of the first sign that no YAML file may hold (control characters, half a surrogate pair), if any."""
    match = _NOT_YAML.search(text)
    return match.start() if match else None


def kind_of_scalar(value: str | int | float | bool | None) -> Kind:
    """The node kind of a resolved scalar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"
