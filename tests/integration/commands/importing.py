"""`import_workflow` in this process: files for it, what it prints, the error that it ends with."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

GOOD = """\
name: letters
version: "1"
jobs:
  - type: echo
"""
BROKEN = """\
name: letters
jobs:
  - type: ECHO
    worker: tests.app.workers.Ecko
    needz: []
"""


def write(folder, name, text=GOOD):
    (folder / name).write_text(text)
    return name


def run(*arguments):
    """What the command prints on its two streams."""
    out, err = StringIO(), StringIO()
    call_command("import_workflow", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def fail(*arguments):
    """The error that the command ends with, and what it prints before."""
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("import_workflow", *arguments, stdout=out, stderr=err)
    return caught.value, out.getvalue(), err.getvalue()
