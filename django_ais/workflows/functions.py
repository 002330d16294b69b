"""Operators and functions over JSON values: what an expression computes. No parsing here.

Nothing in this module reads an attribute of a value, calls one, or imports by name: it takes JSON apart by type. Each
fault is an `ExpressionError` without a position; `expressions` knows where the operator stood and adds it.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from django_ais.exceptions import ExpressionError

MAX_TEXT_BYTES = 65_536
SMALLEST_INT, LARGEST_INT = -(2**63), 2**63 - 1
MAX_NUMBER_CHARACTERS = 40
_INT = re.compile(r"[+-]?[0-9]{1,40}")
_DOUBLE = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_UP)  # 19 digits before the point, 15 after it, and room
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def kind_of(value: Any) -> str:
    """The JSON kind of a value in words: null, boolean, int, double, text, list or object. Raises for anything else."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "text"
        case list() | tuple():
            return "list"
        case Mapping():
            return "object"
    raise ExpressionError(f"a {type(value).__name__} is not a JSON value", rule="X221")


def wrong_type(message: str, hint: str = "") -> ExpressionError:
    return ExpressionError(message, hint=hint, rule="X221")


def _is_number(value: Any) -> bool:
    return kind_of(value) in ("int", "double")


def _number(value: float | int) -> float | int:
    """Pass a computed number on, or raise: JSON has no infinity, and databases no integer above 64 bits."""
    if isinstance(value, int) and not SMALLEST_INT <= value <= LARGEST_INT:
        raise ExpressionError("the number does not fit into 64 bits", rule="X222")
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("the result is not a finite number", rule="X222")
    return value


def limited(text: str) -> str:
    """Pass a text on that an expression made, or raise: 64 KB is the limit (a text handed on unchanged has none)."""
    size = len(text)
    if size > MAX_TEXT_BYTES or (size * 4 > MAX_TEXT_BYTES and len(text.encode(errors="replace")) > MAX_TEXT_BYTES):
        raise ExpressionError(f"the text is longer than {MAX_TEXT_BYTES // 1024} KB", rule="X223")
    return text


def require_boolean(value: Any, where: str) -> bool:
    """``value`` as a condition. There is no truthiness: anything but a boolean raises."""
    if not isinstance(value, bool):
        raise wrong_type(f"{where} takes true or false, not {_a(value)}", "compare it: x != '', size(x) > 0, x == true")
    return value


def _a(value: Any) -> str:
    kind = kind_of(value)
    return kind if kind == "null" else f"an {kind}" if kind in ("int", "object") else f"a {kind}"


def equal(left: Any, right: Any) -> bool:
    """JSON equality: ``1 == 1.0``, ``1 != true``; lists in order, objects by key; different kinds are unequal."""
    kinds = {kind_of(left), kind_of(right)}
    if kinds <= {"int", "double"}:
        return bool(left == right)
    if len(kinds) > 1:
        return False
    if kinds == {"list"}:
        return len(left) == len(right) and all(map(equal, left, right))
    if kinds == {"object"}:
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return bool(left == right)


def contains_item(item: Any, container: Any) -> bool:
    """The ``in`` operator: an item of a list or a key of an object."""
    match kind_of(container):
        case "list":
            return any(equal(item, other) for other in container)
        case "object":
            return isinstance(item, str) and item in container
        case "text":
            raise wrong_type("'in' looks into a list or an object, not into a text", "write contains(text, part)")
    raise wrong_type(f"'in' looks into a list or an object, not into {_a(container)}")


def compare(symbol: str, left: Any, right: Any) -> bool:
    """``< <= > >=`` between two numbers or two texts (by code point)."""
    if (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
        return _ORDER[symbol](left, right)
    raise wrong_type(f"'{symbol}' compares two numbers or two texts, not {_a(left)} with {_a(right)}")


def add(left: Any, right: Any) -> Any:
    """Add numbers; join texts or lists."""
    if _is_number(left) and _is_number(right):
        try:
            return _number(left + right)
        except OverflowError:  # an int from outside, too large for a double
            raise ExpressionError("the result is not a finite number", rule="X222") from None
    kinds = kind_of(left), kind_of(right)
    if kinds == ("text", "text"):
        return limited(left + right)
    if kinds == ("list", "list"):
        return [*left, *right]
    hint = "write string(x) to join a number to a text" if "text" in kinds else ""
    raise wrong_type(f"'+' cannot add {_a(right)} to {_a(left)}", hint)


def calculate(symbol: str, left: Any, right: Any) -> float | int:
    """``- * / %`` over numbers. Two ints give an int; ``/`` and ``%`` cut towards zero, as in CEL."""
    if not (_is_number(left) and _is_number(right)):
        raise wrong_type(f"'{symbol}' takes two numbers, not {_a(left)} and {_a(right)}")
    try:
        match symbol:
            case "-":
                return _number(left - right)
            case "*":
                return _number(left * right)
            case "/" if isinstance(left, float) or isinstance(right, float):
                return _number(left / right)
        if isinstance(left, float) or isinstance(right, float):
            raise wrong_type("'%' takes two ints", "write int(x) to cut a double")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return _number(quotient if symbol == "/" else left - right * quotient)
    except ZeroDivisionError:
        raise ExpressionError("division by zero", rule="X222") from None
    except OverflowError:
        raise ExpressionError("the result is not a finite number", rule="X222") from None


def negate(value: Any) -> float | int:
    """Unary minus."""
    if not _is_number(value):
        raise wrong_type(f"'-' takes a number, not {_a(value)}")
    return _number(-value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type(f"{name}() takes a text, not {_a(value)}")
    return value


def _size(value: Any) -> int:
    if kind_of(value) not in ("text", "list", "object"):
        raise wrong_type(f"size() takes a text, a list or an object, not {_a(value)}")
    return len(value)


def to_text(value: Any) -> str:
    """``string(x)``: texts, numbers as in JSON, ``true`` and ``false``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or _is_number(value):
        return to_json(value)
    if value is None:
        raise wrong_type("null has no text", "say what to write instead: x == null ? '' : string(x)")
    raise wrong_type(f"string() takes a text, a number or a boolean, not {_a(value)}", "write json(x)")


def to_json(value: Any) -> str:
    """``json(x)``: compact JSON, keys in order, so that equal values give equal texts."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise wrong_type(f"not a JSON value: {error}") from None
    except RecursionError:
        raise ExpressionError("a value nests too deeply", rule="X207") from None
    return limited(text)


def _int(value: Any) -> float | int:
    if isinstance(value, str) and _INT.fullmatch(value):
        return _number(int(value))
    if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
        return _number(int(value))
    raise wrong_type(f"int() takes a number or the text of a whole number, not {_shown(value)}")


def _double(value: Any) -> float | int:
    if isinstance(value, str) and len(value) <= MAX_NUMBER_CHARACTERS and _DOUBLE.fullmatch(value):
        return _number(float(value))
    if not isinstance(value, bool) and isinstance(value, int | float):
        try:
            return _number(float(value))
        except OverflowError:
            raise ExpressionError("the result is not a finite number", rule="X222") from None
    raise wrong_type(f"double() takes a number or the text of one, not {_shown(value)}")


def _shown(value: Any) -> str:
    return "this text" if isinstance(value, str) else _a(value)


def _extreme(name: str, choose: Callable[[Any], Any], values: tuple[Any, ...]) -> Any:
    numbers = values[0] if len(values) == 1 and kind_of(values[0]) == "list" else values
    if not numbers:
        raise wrong_type(f"{name}() of an empty list", "write default values in front: " + name + "([0] + list)")
    for value in numbers:
        if not _is_number(value):
            raise wrong_type(f"{name}() takes numbers, not {_a(value)}")
    return choose(numbers)


def _abs(value: Any) -> float | int:
    if not _is_number(value):
        raise wrong_type(f"abs() takes a number, not {_a(value)}")
    return _number(abs(value))


def _round(value: Any, digits: Any = 0) -> float | int:
    """Half away from zero, as people round. Without digits an int, else a double."""
    if not _is_number(value) or kind_of(digits) != "int" or not 0 <= digits <= 15:
        raise wrong_type("round() takes a number, and then a count of digits from 0 to 15")
    if isinstance(value, float) and (not math.isfinite(value) or abs(value) > LARGEST_INT):
        raise ExpressionError("the number does not fit into 64 bits", rule="X222")
    if isinstance(value, int):
        return _number(value)
    rounded = Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), context=_ROUNDING)
    return _number(float(rounded) + 0.0 if digits else int(rounded))


@dataclass(frozen=True, slots=True)
class Function:
    """One function: how many arguments it takes (``most`` ``None``: any number) and the kind that it gives."""

    call: Callable[..., Any]
    least: int
    most: int | None
    gives: str


FUNCTIONS: Mapping[str, Function] = {
    "size": Function(_size, 1, 1, "int"),
    "contains": Function(lambda t, part: _text("contains", part) in _text("contains", t), 2, 2, "boolean"),
    "startsWith": Function(
        lambda t, part: _text("startsWith", t).startswith(_text("startsWith", part)), 2, 2, "boolean"
    ),
    "endsWith": Function(lambda t, part: _text("endsWith", t).endswith(_text("endsWith", part)), 2, 2, "boolean"),
    "lower": Function(lambda t: limited(_text("lower", t).lower()), 1, 1, "text"),
    "upper": Function(lambda t: limited(_text("upper", t).upper()), 1, 1, "text"),
    "string": Function(lambda value: limited(to_text(value)), 1, 1, "text"),
    "int": Function(_int, 1, 1, "int"),
    "double": Function(_double, 1, 1, "double"),
    "min": Function(lambda *values: _extreme("min", min, values), 1, None, "double"),
    "max": Function(lambda *values: _extreme("max", max, values), 1, None, "double"),
    "abs": Function(_abs, 1, 1, "double"),
    "round": Function(_round, 1, 2, "double"),
    "json": Function(to_json, 1, 1, "text"),
}

# `has` and `default` look at a path instead of its value, so the evaluator owns them.
SPECIAL_FORMS: Mapping[str, int] = {"has": 1, "default": 2}
FUNCTION_NAMES = (*FUNCTIONS, *SPECIAL_FORMS)
