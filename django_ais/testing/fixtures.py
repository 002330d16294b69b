"""pytest fixtures. Nothing loads them by itself: say ``pytest_plugins = ["django_ais.testing.fixtures"]`` in a
conftest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_ais.testing.clock import FrozenClock, frozen_clock
from django_ais.testing.scripts import no_requests


@pytest.fixture
def ais_no_requests() -> Iterator[None]:
    """No gateway calls out during the test."""
    with no_requests():
        yield


@pytest.fixture
def ais_clock() -> Iterator[FrozenClock]:
    """A clock that stands still until the test moves it."""
    with frozen_clock() as clock:
        yield clock
