"""Workflow files as a command gets them: found, read, checked, and what is wrong with them written for whoever reads.

No database here: what `import_workflow --check` does is all in this module.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from django_ais import conf, registry
from django_ais.exceptions import ConfigurationError
from django_ais.workflows.loader import Loaded, load
from django_ais.workflows.problems import Problem
from django_ais.workflows.schemas import WorkerInfo

STDIN = "-"
STDIN_NAME = "<stdin>"
SUFFIXES = (".yaml", ".yml")

Schema = dict[str, Any]


class UsageError(Exception):
    """What was asked for cannot be done: a path that is not there, a folder without workflow files."""


@dataclass(frozen=True)
class WorkflowFile:
    """One workflow file, read and checked."""

    name: str
    loaded: Loaded
    source: str


def find_files(paths: Sequence[str]) -> list[str]:
    """The files that are meant, in the order given, each once; a folder means the workflow files in it, by name.

    Raises `UsageError`.
    """
    found = [name for path in paths for name in _files_of(path)]
    return list(dict.fromkeys(found))


def _files_of(path: str) -> Iterator[str]:
    if path == STDIN or Path(path).is_file():
        yield path
    elif not Path(path).is_dir():
        raise UsageError(f"There is no file or folder {path!r}.")
    else:
        inside = sorted(file for file in Path(path).iterdir() if file.suffix in SUFFIXES and file.is_file())
        if not inside:
            raise UsageError(f"The folder {path!r} holds no *.yaml or *.yml file.")
        yield from map(str, inside)


def read_file(name: str, workers: Mapping[str, WorkerInfo]) -> WorkflowFile:
    """Read and check one file; raises `UsageError` if it cannot be read, for nothing that it holds."""
    try:
        data = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}.") from error
    shown = STDIN_NAME if name == STDIN else name
    return WorkflowFile(shown, load(data, file=shown, workers=workers), data.decode("utf-8-sig", errors="replace"))


def known_workers() -> dict[str, WorkerInfo]:
    """What the checks may know of the registered workers, by every name that they go by."""
    return {name: _described(name, worker) for name, worker in registry.workers().items()}


def _described(name: str, worker: type) -> WorkerInfo:
    return WorkerInfo(
        name,
        f"{worker.__module__}.{worker.__qualname__}",
        output_schema=_schema(getattr(worker, "output_class", None), "serialization"),
        config_schema=_schema(getattr(worker, "config_class", None), "validation"),
    )


def _schema(model: type[BaseModel] | None, mode: Literal["serialization", "validation"]) -> Schema | None:
    """A model's JSON Schema; one that says nothing for a model that has none, such as one with a field of any class."""
    if model is None:
        return None
    try:
        return model.model_json_schema(by_alias=mode == "validation", mode=mode)
    except PydanticUserError:
        return {}


def unknown_queues(file: WorkflowFile) -> list[str]:
    """A sentence for each workflow job whose queue the settings do not have; its run would wait for ever."""
    queues = conf.current().queues
    found = []
    for job in file.loaded.spec.jobs if file.loaded.spec else ():
        try:
            conf.lookup(queues, job.queue or "default", key="QUEUES")
        except ConfigurationError as error:
            found.append(f"{file.name}: job {job.id!r} names the queue {job.queue!r}. {error}")
    return found


def counted(number: int, word: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


# -- problems, as text, JSON or annotations of a pull request --------------------------------------------------------

COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}  # what GitHub calls them


def problem_lines(problems: Iterable[Problem], style: str) -> list[str]:
    """Each problem as text with its line and a caret, or as a workflow command of GitHub."""
    return [_annotation(problem) if style == "github" else problem.render() for problem in problems]


def _annotation(problem: Problem) -> str:
    place = {
        "file": problem.file,
        "line": str(problem.line),
        "col": str(problem.column),
        "title": f"ais.{problem.code}",
    }
    properties = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in place.items())
    message = f"{problem.message} ({problem.hint})" if problem.hint else problem.message
    return f"::{COMMANDS[problem.severity]} {properties}::{_escaped(message)}"


def annotation(sentence: str) -> str:
    """An error without a place, as a workflow command of GitHub."""
    return f"::error::{_escaped(sentence)}"


def _escaped(text: str, more: str = "") -> str:
    """Text as GitHub's workflow commands want it: https://github.com/actions/toolkit, packages/core/src/command.ts."""
    for sign in f"%\r\n{more}":
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def as_json(document: Mapping[str, Any]) -> str:
    """One JSON document, for people too."""
    return json.dumps(document, indent=2, ensure_ascii=False)
