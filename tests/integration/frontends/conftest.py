"""Somebody who may start a workflow from a front end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.behaviour_workers import imported, settings_of
from tests.integration.frontends import doors
from tests.integration.streaming import conftest as streaming

project = streaming.project


@pytest.fixture
def anna(project: Any) -> Any:
    """Somebody who may start the workflow."""
    project.DJANGO_AIS = settings_of(AUTHORIZER=f"{doors.__name__}.may", TENANT_RESOLVER=doors.BY_HEADER)
    imported(doors.TALK)
    return streaming.person("anna")


@pytest.fixture
def waiting(anna: Any, project: Any) -> None:
    """What is started waits: nobody takes jobs from the queue."""
    project.DJANGO_AIS = settings_of("database", AUTHORIZER=f"{doors.__name__}.may", TENANT_RESOLVER=doors.BY_HEADER)
