"""What queue, bus and gateway drivers share: options and dotted paths. Pure: no Django."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from django_ais.exceptions import ConfigurationError


class NoOptions(BaseModel):
    """The options of a driver that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_options(
    kind: type[BaseModel], options: Mapping[str, Any] | None, *, alias: str, driver: type
) -> Any:  # an instance of `kind`
    """Check a driver's options. Raises `ConfigurationError` naming the alias, the field and the options there are."""
    try:
        return kind(**(options or {}))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        known = ", ".join(kind.model_fields) or "none"
        raise ConfigurationError(
            f"OPTIONS of '{alias}' ({driver.__name__}): {field}: {first['msg']}. Options it knows: {known}."
        ) from None  # what is chained shows the values, and some are secrets


def missing_modules(names: Iterable[str]) -> list[str]:
    """Which of these top-level modules are not installed. None of them is imported."""
    return [name for name in names if sys.modules.get(name) is None and not _is_found(name)]


def _is_found(name: str) -> bool:
    return name not in sys.modules and importlib.util.find_spec(name) is not None


def load(path: str) -> Any:
    """The object at a dotted path, imported now."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
