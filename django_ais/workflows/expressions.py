"""Expressions: parse once, ask what they read, evaluate on JSON. A closed subset of CEL with our own evaluator.

No loops, no methods, no way to a Python attribute. What an expression yields is data and is never read as an expression
again. ``&&`` and ``||`` evaluate from left to right and stop early; unlike CEL, an error on the left is an error.
``1 == 1.0`` is true and ints mix with doubles, because JSON has one kind of number.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django_ais.exceptions import ExpressionError
from django_ais.workflows import functions, syntax
from django_ais.workflows.functions import FUNCTION_NAMES, FUNCTIONS, SPECIAL_FORMS, kind_of, require_boolean

ROOTS = ("inputs", "jobs", "loop", "run", "failure")
_CACHED_EXPRESSIONS = 4_096


class MissingFieldError(ExpressionError):
    """A field, key or index is not there. `has` and `default` look at this and at no other error."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One path that an expression reads: names and constant indexes, as far as they are known without evaluating.

    ``positions[i]`` is where ``path[i]`` stands in the text. ``is_partial`` says that a computed index follows.
    """

    path: tuple[str | int, ...]
    positions: tuple[int, ...]
    is_partial: bool = False

    @property
    def position(self) -> int:
        """Where the path begins in the expression's text, counted from 0."""
        return self.positions[0]


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. Immutable, safe to share between threads."""

    text: str
    tree: syntax.Tree

    def evaluate(self, context: Mapping[str, Any]) -> Any:
        """The value over ``context`` (roots by name, JSON inside). Raises `ExpressionError` and nothing else."""
        try:
            return _evaluate(self.tree, context)
        except RecursionError:
            raise ExpressionError("a value nests too deeply", position=0, rule="X207") from None

    def test(self, context: Mapping[str, Any]) -> bool:
        """The value as a condition (``if:``). Raises `ExpressionError` where it is not a boolean."""
        value = self.evaluate(context)
        return bool(_located(self.tree.position, require_boolean, value, "a condition"))

    def references(self) -> tuple[Reference, ...]:
        """Every path that evaluating may read, in the order of the text, repeated as often as it stands there."""
        return tuple(_references(self.tree))

    def kind(self) -> str:
        """The kind of the value where it is known without evaluating (``boolean``, ``text``, ...), else ``""``."""
        return _static_kind(self.tree)


@lru_cache(maxsize=_CACHED_EXPRESSIONS)
def parse(text: str) -> Expression:
    """Parse an expression's text (without braces). Raises `ExpressionError` with a position, a rule and a hint."""
    tree = syntax.parse_tree(text)
    for node in _walk(tree):
        if isinstance(node, syntax.Call):
            _check_call(node)
    return Expression(text, tree)


def suggest(word: str, known: Any) -> str:
    """A "did you mean" for ``word``, or an empty text."""
    close = difflib.get_close_matches(word, [name for name in known if isinstance(name, str)], n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""


def _walk(tree: syntax.Tree) -> Iterator[syntax.Tree]:
    yield tree
    for child in _children(tree):
        yield from _walk(child)


def _children(tree: syntax.Tree) -> Iterator[syntax.Tree]:
    match tree:
        case syntax.Select():
            yield tree.base
            yield from (step.key for step in tree.steps if not isinstance(step.key, str))
        case syntax.ListOf():
            yield from tree.items
        case syntax.Unary():
            yield tree.operand
        case syntax.Chain():
            yield tree.first
            yield from (operand for _, operand in tree.rest)
        case syntax.Choice():
            yield from (tree.condition, tree.then, tree.otherwise)
        case syntax.Call():
            yield from tree.arguments


def _check_call(call: syntax.Call) -> None:
    count = len(call.arguments)
    if call.name in SPECIAL_FORMS:
        least = most = SPECIAL_FORMS[call.name]
    elif call.name in FUNCTIONS:
        least, most = FUNCTIONS[call.name].least, FUNCTIONS[call.name].most or count
    else:
        hint = suggest(call.name, FUNCTION_NAMES) or f"there are {', '.join(FUNCTION_NAMES)}"
        raise ExpressionError(f"there is no function '{call.name}'", position=call.position, hint=hint, rule="X208")
    if not least <= count <= max(most, least):
        wanted = str(least) if least == most else f"{least} to {most}" if most > least else f"at least {least}"
        message = f"{call.name}() takes {wanted} argument{'s' * (wanted != '1')}, found {count}"
        raise ExpressionError(message, position=call.position, rule="X208")
    if call.name in SPECIAL_FORMS and not _is_path(call.arguments[0]):
        hint = f"write {call.name}(inputs.language{', ...' * (call.name == 'default')})"
        raise ExpressionError(
            f"{call.name}() looks at a field", position=call.arguments[0].position, hint=hint, rule="X208"
        )


def _is_path(tree: syntax.Tree) -> bool:
    return isinstance(tree, syntax.Select) and isinstance(tree.base, syntax.Name)


def _references(tree: syntax.Tree) -> Iterator[Reference]:
    match tree:
        case syntax.Name():
            yield Reference((tree.name,), (tree.position,))
        case syntax.Select(base=syntax.Name() as base):
            yield _path_reference(base, tree.steps)
            for step in tree.steps:
                if not isinstance(step.key, str):
                    yield from _references(step.key)
        case _:
            for child in _children(tree):
                yield from _references(child)


def _path_reference(base: syntax.Name, steps: tuple[syntax.Step, ...]) -> Reference:
    path: list[str | int] = [base.name]
    positions = [base.position]
    for step in steps:
        key = step.key.value if isinstance(step.key, syntax.Literal) else step.key
        if not isinstance(key, str | int) or isinstance(key, bool):
            return Reference(tuple(path), tuple(positions), is_partial=True)
        path.append(key)
        positions.append(step.position)
    return Reference(tuple(path), tuple(positions))


def _static_kind(tree: syntax.Tree) -> str:
    match tree:
        case syntax.Literal():
            return kind_of(tree.value)
        case syntax.ListOf():
            return "list"
        case syntax.Unary():
            return "boolean" if tree.symbols[0].text == "!" else "double"
        case syntax.Chain():
            symbol = tree.rest[-1][0].text
            return "boolean" if syntax.POWERS[symbol] <= 3 else "number or text"
        case syntax.Choice():
            then, otherwise = _static_kind(tree.then), _static_kind(tree.otherwise)
            return then if then == otherwise else ""
        case syntax.Call() if tree.name in FUNCTIONS:
            return FUNCTIONS[tree.name].gives
        case syntax.Call(name="has"):
            return "boolean"
    return ""


def _located(position: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call, and give an error without a place the place of the operator."""
    try:
        return function(*arguments)
    except ExpressionError as error:
        if error.position is None:
            error.position = position
        raise


def _evaluate(tree: syntax.Tree, context: Mapping[str, Any]) -> Any:
    match tree:
        case syntax.Literal():
            return tree.value
        case syntax.Name():
            return _root(tree, context)
        case syntax.Select():
            return _select(tree, context)
        case syntax.ListOf():
            return [_evaluate(item, context) for item in tree.items]
        case syntax.Unary():
            return _unary(tree, context)
        case syntax.Chain():
            return _chain(tree, context)
        case syntax.Choice():
            condition = _evaluate(tree.condition, context)
            chosen = _located(tree.position, require_boolean, condition, "'? :'")
            return _evaluate(tree.then if chosen else tree.otherwise, context)
        case syntax.Call():
            return _call(tree, context)


def _root(name: syntax.Name, context: Mapping[str, Any]) -> Any:
    if name.name not in context:
        hint = suggest(name.name, context) or f"known here: {', '.join(map(str, context))}"
        raise ExpressionError(f"there is no '{name.name}' here", position=name.position, hint=hint, rule="X201")
    return context[name.name]


def _select(tree: syntax.Select, context: Mapping[str, Any]) -> Any:
    value = _evaluate(tree.base, context)
    for step in tree.steps:
        key = step.key if isinstance(step.key, str) else _index(step.key, context)
        value = _located(step.position, _member, value, key)
    return value


def _index(tree: syntax.Tree, context: Mapping[str, Any]) -> Any:
    """An index's value. A field missing inside it is a mistake of its own, not one that `has` may swallow."""
    try:
        return _evaluate(tree, context)
    except MissingFieldError as error:
        raise ExpressionError(str(error), position=error.position, hint=error.hint, rule=error.rule) from None


def _member(value: Any, key: Any) -> Any:
    kind = kind_of(value)
    if kind == "object" and isinstance(key, str):
        if key in value:
            return value[key]
        raise MissingFieldError(f"there is no field '{key}'", hint=suggest(key, value), rule="X220")
    if kind == "list" and kind_of(key) == "int":
        if 0 <= key < len(value):
            return value[key]
        raise MissingFieldError(f"there is no item {key} in a list of {len(value)}", rule="X220")
    if kind == "null":
        raise MissingFieldError(f"null has no field {key!r}", rule="X220")
    if kind == "object":
        raise functions.wrong_type(f"an object's key is a text, not {kind_of(key)}")
    if kind == "list":
        raise functions.wrong_type(f"a list's index is an int, not {kind_of(key)}", "the first item is list[0]")
    raise functions.wrong_type(f"{kind} has no fields", "only objects and lists have")


def _unary(tree: syntax.Unary, context: Mapping[str, Any]) -> Any:
    value = _evaluate(tree.operand, context)
    for symbol in reversed(tree.symbols):
        if symbol.text == "!":
            value = not _located(symbol.position, require_boolean, value, "'!'")
        else:
            value = _located(symbol.position, functions.negate, value)
    return value


def _chain(tree: syntax.Chain, context: Mapping[str, Any]) -> Any:
    value = _evaluate(tree.first, context)
    for symbol, operand in tree.rest:
        if symbol.text in ("&&", "||"):
            if _located(symbol.position, require_boolean, value, f"'{symbol.text}'") is (symbol.text == "||"):
                return value
            right = _evaluate(operand, context)
            value = _located(symbol.position, require_boolean, right, f"'{symbol.text}'")
        else:
            value = _located(symbol.position, _binary, symbol.text, value, _evaluate(operand, context))
    return value


def _binary(symbol: str, left: Any, right: Any) -> Any:
    match symbol:
        case "==" | "!=":
            return functions.equal(left, right) is (symbol == "==")
        case "in":
            return functions.contains_item(left, right)
        case "+":
            return functions.add(left, right)
        case "-" | "*" | "/" | "%":
            return functions.calculate(symbol, left, right)
    return functions.compare(symbol, left, right)


def _call(tree: syntax.Call, context: Mapping[str, Any]) -> Any:
    if tree.name in SPECIAL_FORMS:
        try:
            value = _evaluate(tree.arguments[0], context)
        except MissingFieldError:
            return False if tree.name == "has" else _evaluate(tree.arguments[1], context)
        return True if tree.name == "has" else value
    arguments = [_evaluate(argument, context) for argument in tree.arguments]
    return _located(tree.position, FUNCTIONS[tree.name].call, *arguments)
