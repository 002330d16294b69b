"""What each of these tests gets: jobs that run at once, and a look at the tables before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.tables import rows


@pytest.fixture
def settings(settings: Any) -> Any:
    settings.DJANGO_AIS = {"QUEUES": {"default": "immediate"}, "BUSES": {"default": "memory"}}
    return settings


@pytest.fixture
def nothing_written(settings: Any) -> Iterator[None]:
    """Every table has as many rows after the test as before it."""
    before = rows()
    yield
    assert rows() == before
