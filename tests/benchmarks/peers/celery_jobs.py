"""The app and the tasks of `celery_`, at a path where its worker processes find them."""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

from celery import Celery

from tests.benchmarks.peers import clock

app = Celery("peer")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def echo(n: int) -> int:
    return n


@app.task(ignore_result=True)
def tell() -> None:
    clock.tell()
