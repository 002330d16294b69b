"""What the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.workers import SETTINGS, Crew


@pytest.fixture
def crew(transactional_db: None, tmp_path: Path, settings: Any) -> Iterator[Crew]:
    """Worker processes on the database of the test, ended with it. The test dispatches with the same settings."""
    settings.DJANGO_AIS = {**settings.DJANGO_AIS, **SETTINGS}
    with Crew(tmp_path) as crew:
        yield crew
