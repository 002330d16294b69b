"""Somebody writes to the broker: nothing that they can write is shown, skipped to, or costs more than a look."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from django_ais import jobs, registry, tenancy
from django_ais.buses import BaseBus
from django_ais.events import Envelope
from django_ais.runtime import reading, streams
from tests.app.behaviour_workers import settings_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def waiting(settings: Any) -> Any:
    settings.DJANGO_AIS = settings_of()
    return jobs.dispatch("echo", {}, run_after=timezone.now() + timedelta(days=1))


def forged(run: Any, seq: int, *, keys: Any = ()) -> bytes:
    """A frame as somebody without the key, or with a key of their own, would make it."""
    envelope = Envelope(
        seq=seq, run=run, job=run, tenant="", type="job.succeeded", time=datetime.now(UTC), data={"forged": True}
    )
    return BaseBus(keys=keys).encode(tenancy.topic("", run), envelope)


@pytest.mark.parametrize("keys", [[], [b"a key of their own"]], ids=["unsigned", "signed by another"])
def test_a_forged_frame_changes_nothing(waiting, keys, monkeypatch):
    """Given a follower, when forged frames say the next number, the one after it, one far ahead, and what belongs to
    another run, a thousand times, then it reads the real events alone, and the rows were read a few times, not a
    thousand.
    """
    pages = []
    page = reading.page
    monkeypatch.setattr(reading, "page", lambda *args, **kwargs: pages.append(1) or page(*args, **kwargs))

    def forge() -> None:
        topic, bus = tenancy.topic("", waiting.id), registry.buses["default"]
        for seq in (2, 3, 1_000_000_000):
            for _ in range(333):
                bus._publish(topic, [forged(waiting.id, seq, keys=keys)])
        bus._publish(topic, [forged(uuid4(), 2, keys=keys), b"not a frame"])

    async def follow() -> list[Any]:
        found = []
        async for envelope in streams.follow(waiting.id):
            found.append((envelope.seq, envelope.type))
            if len(found) == 1:
                forge()
                await asyncio.sleep(0.4)
                await asyncio.to_thread(_cancel, waiting.id)
        return found

    assert asyncio.run(follow()) == [(1, "job.queued"), (2, "job.cancelled")]
    assert len(pages) < 10


def _cancel(job: Any) -> None:
    jobs.cancel(job)
    connections.close_all()


def test_the_key_is_the_projects(settings, waiting):
    """Given two projects with different secret keys, when one's bus is asked for its keys, then they differ, and a
    fallback key is still believed.
    """
    before = registry.bus_keys()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"

    assert registry.bus_keys()[0] not in before
    assert registry.bus_keys()[1:] == before
    assert list(registry.buses["default"].keys) == registry.bus_keys()
