"""Write ``settings.md`` anew from `conf.Settings` and the shipped drivers. Run it: it takes no arguments.

Text about a setting is changed in ``django_ais/conf.py``, never in the page.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from annotated_types import Ge, Gt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

PAGE = Path(__file__).with_name("settings.md")
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
KINDS = {"queue": "QUEUES", "bus": "BUSES", "gateway": "GATEWAYS"}
WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    dict: "dict",
    tuple: "list",
    Callable: "callable",
}
HEAD = """\
# Settings

All settings live in one dict, `DJANGO_AIS`, in the project's settings. It is read once, and again when a test overrides
it. An unknown key is an error that suggests the right one; `manage.py check` tells of all mistakes at once.

```python
DJANGO_AIS = {
    "QUEUES": {"default": "database"},
    "BUSES": {"default": "database"},
    "GATEWAYS": {"default": {"BACKEND": "function", "OPTIONS": {"function": "shop.compute.answer"}}},
}
```

`QUEUES`, `BUSES` and `GATEWAYS` map an alias to a driver: a name, or a dict with `BACKEND` and `OPTIONS`. `BACKEND` is
the name of an installed driver or, with a dot in it, the path of a class. `QUEUES` and `BUSES` need an alias `default`.
`CELERY_QUEUE` and `EVENT_CHANNEL_LAYER` are short forms for the defaults; where `QUEUES` is given, `CELERY_QUEUE` has
no effect and a check says so. The defaults are [celery](../drivers/celery.md) and [redis](../drivers/buses.md), which
need a Redis at `localhost:6379`.

This page is generated: `python docs/reference/generate_settings.py`.

"""


def page() -> str:
    """The whole page."""
    from django_ais.conf import Settings

    rows = [_row(name.upper(), field) for name, field in Settings.model_fields.items()]
    table = ["| setting | type | default | meaning |", "|---|---|---|---|", *rows]
    return HEAD + "\n".join(table) + "\n" + "".join(_drivers())


def _row(name: str, field: FieldInfo) -> str:
    meaning = field.description or ""
    return f"| `{name}` | {_type(field)} | {_default(field)} | {meaning} |"


def _type(field: FieldInfo) -> str:
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
    words = [" or ".join(dict.fromkeys(_word(kind) for kind in kinds if kind is not NoneType))]
    words += [f"from {bound.ge}" for bound in field.metadata if isinstance(bound, Ge)]
    words += [f"above {bound.gt}" for bound in field.metadata if isinstance(bound, Gt)]
    return " ".join(words)


def _word(kind: Any) -> str:
    return WORDS.get(get_origin(kind) or kind, "any")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none: required"
    value = _plain(field.get_default(call_default_factory=True))
    return f"`{value!r}`"


def _plain(value: Any) -> Any:
    """A default as a person would write it: a driver without options is its name."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.backend if isinstance(value, BaseModel) and hasattr(value, "backend") else value


def _drivers() -> Iterator[str]:
    groups = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    for kind, key in KINDS.items():
        yield f"\n## Drivers for `{key}`\n"
        for name, path in sorted(groups[f"django_ais.{kind}"].items()):
            module, _, attribute = path.partition(":")
            yield f"\n### `{name}`\n\n" + _driver(import_module(module), attribute)


def _driver(module: Any, attribute: str) -> str:
    driver = getattr(module, attribute)
    options = getattr(driver, "options_class", None) or driver.Options
    text = f"{_summary(module)}\n"
    if not options.model_fields:
        return text + "\nNo options.\n"
    rows = [f"| `{name}` | {_type(field)} | {_default(field)} |" for name, field in options.model_fields.items()]
    meaning = inspect.getdoc(options) or ""
    table = "\n".join(["| option | type | default |", "|---|---|---|", *rows])
    return f"{text}\n{meaning}\n\n{table}\n"


def _summary(module: Any) -> str:
    """The first sentences of a driver's module: up to its first empty line."""
    return " ".join((inspect.getdoc(module) or "").split("\n\n")[0].split()).removesuffix("::")


if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    PAGE.write_text(page(), encoding="utf-8")
