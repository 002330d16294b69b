"""Runs a page's blocks from top to bottom, as a reader would paste them, in one process and one namespace.

* ``python``: executed. A block that is a file becomes a module that later blocks can import; ``settings.py`` changes
  ``DJANGO_AIS``, ``urls.py`` becomes the URLconf. What a block prints is compared with its lines that begin with
  ``# >``. Test functions and test cases that it defines are run.
* ``yaml``: loaded with the workers that are registered by then, and stored, so that later blocks can start it.
* ``console``: each ``python manage.py`` line must be one that the command's own parser accepts; nothing is run.
"""

from __future__ import annotations

import io
import shlex
import sys
import unittest
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.test import TestCase

from django_ais.apps import register_workers
from django_ais.management.workflow_files import known_workers
from django_ais.runtime import catalog, database
from django_ais.workflows.loader import load
from tests.docs.pages import Block

PAGE = "page_under_test"
OUTPUT = "# > "


class Reader:
    """Somebody who pastes a page's blocks. ``change`` sets a setting of Django's."""

    def __init__(self, change: Callable[[str, Any], None]) -> None:
        self._change = change
        self._page = ModuleType(PAGE)
        sys.modules[PAGE] = self._page

    def paste(self, block: Block) -> None:
        """Run one block."""
        {"python": self._python, "yaml": self._yaml, "console": self._console}[block.language](block)

    def _python(self, block: Block) -> None:
        if block.file == "settings.py":
            self._settings(block)
            return
        module = self._module(block.file) if block.file else self._page
        before = set(vars(module))
        printed = self._execute(block, vars(module))
        wanted = [line.removeprefix(OUTPUT) for line in block.text.splitlines() if line.startswith(OUTPUT)]
        assert printed.splitlines() == wanted, f"{block} printed:\n{printed}"
        if block.file.endswith("workers.py"):
            register_workers(module)
        if block.file.endswith("urls.py"):
            self._change("ROOT_URLCONF", module.__name__)
        run_tests([value for name, value in vars(module).items() if name not in before])

    def _execute(self, block: Block, namespace: dict[str, Any]) -> str:
        code = compile(block.padded, str(block.page), "exec", dont_inherit=True)
        with redirect_stdout(io.StringIO()) as printed:
            exec(code, namespace)
        return printed.getvalue()

    def _settings(self, block: Block) -> None:
        names: dict[str, Any] = {"INSTALLED_APPS": [], "DATABASES": {"default": {}}, "DJANGO_AIS": settings.DJANGO_AIS}
        self._execute(block, names)
        self._change("DJANGO_AIS", names["DJANGO_AIS"])

    def _module(self, file: str) -> ModuleType:
        """A new module under the file's dotted name; folders above it that are no packages become some."""
        parts = file.removesuffix(".py").split("/")
        for depth in range(1, len(parts)):
            package = ".".join(parts[:depth])
            if package not in sys.modules:
                sys.modules[package] = ModuleType(package)
                sys.modules[package].__path__ = []
        name = ".".join(parts)
        module = sys.modules[name] = ModuleType(name)
        if len(parts) > 1:
            setattr(sys.modules[".".join(parts[:-1])], parts[-1], module)
        return module

    def _yaml(self, block: Block) -> None:
        loaded = load(block.text, file=str(block), workers=known_workers())
        assert not loaded.problems, "\n".join(problem.render() for problem in loaded.problems)
        database.transact(lambda: catalog.store(loaded.require(), source=block.text))

    def _console(self, block: Block) -> None:
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["python"] and Path(words[1]).name == "manage.py":
                check_command(words[2], words[3:])


def check_command(name: str, arguments: list[str]) -> None:
    """Let a management command's own parser read its arguments; it raises for what it does not know."""
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(arguments)


def run_tests(values: list[Any]) -> None:
    """Run the test cases and the test functions among what a block defined; functions as pytest's `django_db` does."""
    functions = [value for value in values if getattr(value, "__name__", "").startswith("test_")]
    methods = {function.__name__: staticmethod(function) for function in functions}
    for case in [*(value for value in values if is_own_case(value)), type("Functions", (TestCase,), methods)]:
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
        outcome = unittest.TestResult()
        suite.run(outcome)
        assert not (wrong := outcome.errors + outcome.failures), wrong[0][1]
        assert outcome.testsRun == suite.countTestCases()


def is_own_case(value: Any) -> bool:
    """Whether this is a test case that a page defined, rather than imported."""
    return isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == PAGE
