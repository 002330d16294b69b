"""Profiles that something is wrong with, for the tests of the suite itself."""

from __future__ import annotations

from typing import Any

from django_ais.conformance import QueueProfile
from django_ais.conformance.servers import MissingServer, Server

LINK = "https://example.org/issues/12"


class Retrying(QueueProfile):
    """A driver that retries at once."""

    driver = "tests.conformance.mutants.RetriesAtOnce"
    options = {"threads": 1}


class Known(Retrying):
    """The same, and it is known."""

    known_failures = {"Q-DELIVER-001": LINK}


class Cured(QueueProfile):
    """A failure that is no more."""

    driver = "memory"
    options = {"threads": 1}
    known_failures = {"Q-DELIVER-001": LINK}


class NoSuchRequirement(QueueProfile):
    driver = "memory"
    known_failures = {"Q-NONESUCH-001": LINK}


class NoLink(QueueProfile):
    driver = "memory"
    known_failures = {"Q-DELIVER-001": "later"}


class Absent(Server):
    """A server that this machine does not have."""

    name = "Absent"

    def _find(self, stack: Any) -> None:
        raise MissingServer("No Absent: install absent.")


class Unserved(QueueProfile):
    driver = "memory"
    servers = [Absent]


class Unmet(QueueProfile):
    driver = "memory"
    requires = ["no-such-distribution"]
