"""A long gateway call holds no database connection of its job's thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.db import connections

from django_ais import jobs
from django_ais.gateways import BaseGateway, Finished
from django_ais.runtime import links
from django_ais.strategies import BaseStrategy
from tests.app.behaviour_workers import worker_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_who_waits_long_lets_go_of_its_connection(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an answer that comes only after the job's thread has let go, the job succeeds, on a new connection."""
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, "QUEUES": {"default": "memory"}}
    let_go = threading.Event()
    held: list[Any] = []
    real = links.let_go

    def watched() -> None:
        real()
        held.extend(current.connection for current in connections.all(initialized_only=True))
        let_go.set()

    monkeypatch.setattr(links, "let_go", watched)

    class Patient(BaseGateway):
        calls_out = False

        async def _stream(self, request: Any, context: Any) -> Any:
            yield "first "
            assert await asyncio.to_thread(let_go.wait, 10)
            yield "last"
            yield Finished()

    job = jobs.dispatch("waits", {"prompt": "x"}, worker=worker_of(strategy_class=BaseStrategy, gateway_class=Patient))
    assert jobs.wait(job, timeout=20).result == "first last"
    assert held == [None]
