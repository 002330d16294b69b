"""What may be stored: JSON values without what databases and wires choke on. Pure: no Django."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

from pydantic import BaseModel

from django_ais.exceptions import InvalidPayloadError

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
MAX_DEPTH = 64
MAX_INTEGER_BITS = 13_287  # 4,000 digits: Python reads and writes numbers of up to 4,300


def ensure_json(value: Any, *, what: str, limit: int) -> Any:
    """The value if it is JSON that every supported database stores unchanged; a Pydantic model becomes its JSON.

    Raises `InvalidPayloadError` naming the field: not JSON, NUL, a lone surrogate, a number JSON has not, or more than
    ``limit`` bytes as JSON.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    _check(value, what, 0)
    size = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    if size > limit:
        raise InvalidPayloadError(
            f"{what} has {size:,} bytes as JSON; the limit is {limit:,} (MAX_PAYLOAD_BYTES). "
            "Store the content elsewhere and pass its address."
        )
    return value


def _check(value: Any, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidPayloadError(f"{path} is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, int):  # a truth value too
        if value.bit_length() > MAX_INTEGER_BITS:
            raise InvalidPayloadError(f"{path} is a whole number of more than 4,000 digits; pass text")
    elif value is None:
        return
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidPayloadError(f"{path} is {value}, which JSON has not; pass None or text")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidPayloadError(f"{path} has the key {key!r}; JSON objects have text keys alone")
            _check_text(key, f"a key of {path}")
            _check(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    else:
        raise InvalidPayloadError(
            f"{path} is a {type(value).__name__}, which is not JSON; pass text, numbers, lists or dicts"
        )


def _check_text(text: str, path: str) -> None:
    if "\0" in text:
        raise InvalidPayloadError(f"{path} holds a NUL character, which PostgreSQL cannot store; remove it")
    if LONE_SURROGATE.search(text):
        raise InvalidPayloadError(f"{path} holds a lone surrogate, which is not valid text; decode the input as UTF-8")


def sanitised(value: Any) -> Any:
    """The value with NUL and lone surrogates replaced by U+FFFD, for what must not fail: events, error messages."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {sanitised(str(key)): sanitised(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sanitised(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def shortened(data: dict[str, Any], *, limit: int) -> dict[str, Any]:
    """An event's data cut to about ``limit`` bytes: the largest values are cut (text) or replaced by their size."""
    if len(json.dumps(data, default=str)) <= limit:  # in ASCII, which is never shorter
        return data
    sizes = {key: len(json.dumps(item, ensure_ascii=False, default=str).encode()) for key, item in data.items()}
    if sum(sizes.values()) <= limit:
        return data
    share = limit // max(len(data), 1)
    return {key: item if sizes[key] <= share else _cut(item, sizes[key], share) for key, item in data.items()}


def _cut(item: Any, size: int, share: int) -> Any:
    if isinstance(item, str):
        return item.encode()[: max(share - 16, 0)].decode(errors="ignore") + " …"
    return {"truncated_bytes": size}


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()
