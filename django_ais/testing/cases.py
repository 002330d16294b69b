"""For ``unittest``: mix it into a Django test case."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from django_ais.models import JobPacket
from django_ais.testing.assertions import assert_events, assert_run_tree
from django_ais.testing.running import drain, run_job, run_now
from django_ais.testing.scripts import no_requests


class AgentTestMixin:
    """The functions of `django_ais.testing` as methods; no gateway calls out during a test."""

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        stack = ExitStack()
        stack.enter_context(no_requests())
        self.addCleanup(stack.close)  # type: ignore[attr-defined]

    def drain(self) -> int:
        """See `testing.drain`."""
        return drain()

    def run_now(self, workflow: str, inputs: Any = None, **options: Any) -> JobPacket:
        """See `testing.run_now`."""
        return run_now(workflow, inputs, **options)

    def run_job(self, type: str, payload: Any = None, **options: Any) -> JobPacket:
        """See `testing.run_job`."""
        return run_job(type, payload, **options)

    def assertRunTree(self, root: JobPacket, expected: dict[str, str]) -> None:  # noqa: N802 (unittest's manner)
        """See `testing.assert_run_tree`."""
        assert_run_tree(root, expected)

    def assertEvents(self, root: JobPacket, expected: Sequence[str]) -> None:  # noqa: N802 (unittest's manner)
        """See `testing.assert_events`."""
        assert_events(root, expected)
