"""From an expression's text to its tree: tokens and a Pratt parser for a closed subset of CEL. Nothing is evaluated.

Limits hold while reading, so no text can cost more than they allow: 2,000 characters, nesting 32 deep, 200 nodes.
Chains of one precedence (``a + b + c``) are one flat node; only brackets, calls and ``? :`` nest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from django_ais.exceptions import ExpressionError
from django_ais.workflows.functions import LARGEST_INT, SMALLEST_INT

MAX_CHARACTERS = 2_000
MAX_DEPTH = 32
MAX_NODES = 200
KEYWORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
POWERS: Mapping[str, int] = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%"), 5),
}
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_])
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
      | (?P<symbol>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}
_MISTAKES = {
    "=": ("'=' is not an operator", "use '==' to compare"),
    "&": ("'&' is not an operator", "use '&&'"),
    "|": ("'|' is not an operator", "use '||'"),
    "{": ("objects cannot be written in an expression", "write the object in YAML and use ${{ }} for its values"),
    "$": ("an expression holds no '${{ }}' of its own", "write the name alone: inputs.document_id"),
    '"': ("this text does not end", "close it with the same quote on the same line"),
    "'": ("this text does not end", "close it with the same quote on the same line"),
}
_WORDS = {"and": "use '&&'", "or": "use '||'", "not": "use '!'", "is": "use '=='", "if": "use condition ? a : b"}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # number, name, text, symbol or end
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any
    position: int


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Step:
    """One ``.field`` (a text) or ``[index]`` (a tree) of a path."""

    key: str | Tree
    position: int


@dataclass(frozen=True, slots=True)
class Select:
    base: Tree
    steps: tuple[Step, ...]
    position: int


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Tree, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Unary:
    symbols: tuple[Token, ...]
    operand: Tree
    position: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators of one precedence, from left to right."""

    first: Tree
    rest: tuple[tuple[Token, Tree], ...]
    position: int


@dataclass(frozen=True, slots=True)
class Choice:
    condition: Tree
    then: Tree
    otherwise: Tree
    position: int


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Tree, ...]
    position: int


Tree: TypeAlias = Literal | Name | Select | ListOf | Unary | Chain | Choice | Call


def tokenize(text: str) -> Iterator[Token]:
    """Yield the tokens of ``text``, the last of kind ``end``. Raises `ExpressionError` at a foreign character."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _foreign(text[position], position)
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match.group(), position)
        position = match.end()
    yield Token("end", "", position)


def _foreign(character: str, position: int) -> ExpressionError:
    message, hint = _MISTAKES.get(character, (f"{character!r} has no meaning here", ""))
    if character.isdigit():
        message, hint = "this number is not written as a number", "write 12, 1.5 or 1e3"
    return ExpressionError(message, position=position, hint=hint)


def parse_tree(text: str) -> Tree:
    """Parse one expression. Raises `ExpressionError` with a position, for limits too."""
    if len(text) > MAX_CHARACTERS:
        raise _limit(f"the expression has {len(text)} characters, the limit is {MAX_CHARACTERS}", 0)
    return _Parser(text).parse()


def _limit(message: str, position: int) -> ExpressionError:
    return ExpressionError(message, position=position, hint="move a part into a job of its own", rule="X207")


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = list(tokenize(text))
        self.index = 0
        self.depth = 0
        self.nodes = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def take(self) -> Token:
        token = self.token
        self.index += token.kind != "end"
        return token

    def accept(self, symbol: str) -> bool:
        found = self.token.kind == "symbol" and self.token.text == symbol
        self.index += found
        return found

    def expect(self, symbol: str, hint: str = "") -> None:
        if not self.accept(symbol):
            raise self.unexpected(f"expected '{symbol}'", hint)

    def unexpected(self, wanted: str, hint: str = "") -> ExpressionError:
        token = self.token
        found = "the end" if token.kind == "end" else f"'{token.text}'"
        message = f"{wanted}, found {found}"
        before = self.tokens[self.index - 1].text if self.index else ""
        hint = _WORDS.get(token.text) or _WORDS.get(before) or hint
        return ExpressionError(message, position=token.position, hint=hint)

    def count(self, position: int) -> int:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _limit(f"the expression has more than {MAX_NODES} parts", position)
        return position

    def parse(self) -> Tree:
        if self.token.kind == "end":
            raise ExpressionError("the expression is empty", position=0)
        tree = self.expression()
        if self.token.kind != "end":
            raise self.unexpected("expected an operator or the end")
        return tree

    def expression(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _limit(f"the expression nests deeper than {MAX_DEPTH}", self.token.position)
        tree = self.binary(1)
        if self.accept("?"):
            then = self.binary(1)
            self.expect(":", "a choice is written condition ? a : b")
            tree = Choice(tree, then, self.expression(), self.count(tree.position))
        self.depth -= 1
        return tree

    def binary(self, least: int) -> Tree:
        tree = self.unary()
        while (power := self.power()) >= least:
            rest = []
            while self.power() == power:
                symbol = self.take()
                self.count(symbol.position)
                rest.append((symbol, self.binary(power + 1)))
            tree = Chain(tree, tuple(rest), tree.position)
        return tree

    def power(self) -> int:
        return POWERS.get(self.token.text, 0) if self.token.kind in ("symbol", "name") else 0

    def unary(self) -> Tree:
        symbols = []
        while self.token.kind == "symbol" and self.token.text in ("!", "-"):
            self.count(self.token.position)
            symbols.append(self.take())
        if symbols and symbols[-1].text == "-" and self.token.kind == "number":
            symbols.pop()
            operand = self.postfix(self.number("-"))
        else:
            operand = self.postfix(self.primary())
        return Unary(tuple(symbols), operand, symbols[0].position) if symbols else operand

    def postfix(self, base: Tree) -> Tree:
        steps: list[Step] = []
        while self.token.kind == "symbol" and self.token.text in (".", "["):
            bracket = self.count(self.take().position)
            if self.tokens[self.index - 1].text == ".":
                steps.append(self.field(base, steps))
            else:
                steps.append(Step(self.expression(), bracket + 1))
                self.expect("]")
        return Select(base, tuple(steps), base.position) if steps else base

    def field(self, base: Tree, steps: list[Step]) -> Step:
        if self.token.kind != "name" or self.token.text == "in":
            raise self.unexpected(
                "expected a field's name after '.'", "write x['odd name'] for a name with signs in it"
            )
        token = self.take()
        if self.token.text == "(":
            hint = f"write {token.text}(x, ...)"
            raise ExpressionError("values have no methods", position=token.position, hint=hint)
        return Step(token.text, token.position)

    def primary(self) -> Tree:
        token = self.token
        if token.kind == "number":
            return self.number()
        if token.kind == "text":
            self.index += 1
            return Literal(_unescape(token), self.count(token.position))
        if token.kind == "name" and token.text != "in":
            return self.name()
        if self.accept("("):
            tree = self.expression()
            self.expect(")")
            return tree
        if self.accept("["):
            return ListOf(self.sequence("]"), self.count(token.position))
        raise self.unexpected("expected a value")

    def name(self) -> Tree:
        token = self.take()
        self.count(token.position)
        if token.text in KEYWORDS:
            return Literal(KEYWORDS[token.text], token.position)
        if self.accept("("):
            return Call(token.text, self.sequence(")"), token.position)
        return Name(token.text, token.position)

    def sequence(self, closing: str) -> tuple[Tree, ...]:
        items: list[Tree] = []
        while not self.accept(closing):
            if items:
                self.expect(",")
            items.append(self.expression())
        return tuple(items)

    def number(self, sign: str = "") -> Literal:
        token = self.take()
        self.count(token.position)
        if token.text.isdigit() and len(token.text) < 30:
            value: float = int(sign + token.text)
        else:
            value = float(sign + token.text)
            if token.text.isdigit():
                value = LARGEST_INT + 1
        if isinstance(value, int) and not SMALLEST_INT <= value <= LARGEST_INT:
            raise ExpressionError("the number does not fit into 64 bits", position=token.position, rule="X222")
        if value in (float("inf"), float("-inf")):
            raise ExpressionError("the number is not finite", position=token.position, rule="X222")
        return Literal(value, token.position)


def _unescape(token: Token) -> str:
    def replace(match: re.Match[str]) -> str:
        code, character = match.groups()
        if code is not None and (int(code, 16) == 0 or 0xD800 <= int(code, 16) <= 0xDFFF):
            raise ExpressionError(f"\\u{code} is not a character that JSON stores may keep", position=position)
        if code is None and character not in _ESCAPES:
            raise ExpressionError(f"'\\{character}' is not an escape", position=position, hint="a backslash is '\\\\'")
        return chr(int(code, 16)) if code is not None else _ESCAPES[character]

    position = token.position
    return _ESCAPE.sub(replace, token.text[1:-1])
