"""The jobs of `tasks_db`, at paths where its worker processes find it."""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

from django_tasks import task

from tests.benchmarks.peers import clock


@task()
def echo(n: int) -> int:
    return n


@task()
def tell() -> None:
    clock.tell()
