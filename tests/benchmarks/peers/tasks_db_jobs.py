"""The job of `tasks_db`, at a path where its worker processes find it."""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

from django_tasks import task


@task()
def echo(n: int) -> int:
    return n
