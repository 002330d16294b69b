"""For application authors: run jobs to their end inside a test, in its thread and transaction, without waiting.

Works in a plain ``TestCase`` and with pytest's ``django_db``: no worker process, no broker, no heartbeat thread. What a
retry would wait for is due at once; payloads and results go through the database as JSON, as in production.
"""

from __future__ import annotations

from django_ais.testing.assertions import assert_events, assert_run_tree, run_tree
from django_ais.testing.cases import AgentTestMixin
from django_ais.testing.clock import FrozenClock, frozen_clock
from django_ais.testing.running import Crash, crash_after, drain, run_job, run_now
from django_ais.testing.scripts import scripted

__all__ = [
    "AgentTestMixin",
    "Crash",
    "FrozenClock",
    "assert_events",
    "assert_run_tree",
    "crash_after",
    "drain",
    "frozen_clock",
    "run_job",
    "run_now",
    "run_tree",
    "scripted",
]
