"""A RabbitMQ of our own. No wheel carries one, so it is used where the system has it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from django_ais.conformance.servers.processes import STOP_SECONDS, MissingServer, Server, free_port


class RabbitServer(Server):
    """RabbitMQ 3.10 or later, without plugins. User ``guest``, password ``guest``."""

    name: ClassVar[str] = "RabbitMQ"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def __init__(self) -> None:
        super().__init__()
        self._mapper: subprocess.Popen[bytes] | None = None

    def _find(self, stack: ExitStack) -> None:
        folders = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"), reverse=True)
        candidates = [os.environ.get("AIS_RABBITMQ_SERVER"), *map(str, folders), shutil.which("rabbitmq-server")]
        found = next(filter(None, candidates), None)
        if found is None:
            raise MissingServer("No RabbitMQ: install rabbitmq-server with your system's packages.")
        self._program = found  # the script itself, not Debian's wrapper, which becomes another user

    def _prepare(self, stack: ExitStack) -> None:
        self._distribution = stack.enter_context(free_port())
        self._mapper_port = stack.enter_context(free_port())
        (self._folder / "data").mkdir()
        (self._folder / "plugins").write_text("[].\n")
        (self._folder / "rabbit.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            **os.environ,
            "HOME": folder,
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": f"{folder}/crash",  # else a node that is killed at its start leaves a file where we stand
            "RABBITMQ_NODENAME": f"ais{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbit",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/data",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
        }

    @property
    def version(self) -> str:
        """What the running server says of itself: the script takes ``--version`` for a start of another node."""
        found = re.search(rb"versionS....([\d.]+)", self._greeting(), re.DOTALL)
        return found[1].decode() if found else "unknown"

    def _answers(self) -> bool:
        """Whether it speaks: the port opens before the node has booted."""
        return bool(self._greeting())

    def _greeting(self) -> bytes:
        """What it says to who connects, its properties among it; nothing where it is silent."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as trial:
                trial.sendall(b"AMQP\x00\x00\x09\x01")
                return trial.recv(4096)
        except OSError:
            return b""

    def _command(self) -> list[str]:
        return [self._program]

    def _launch(self, **how: Any) -> None:
        """Start Erlang's port mapper as a child first: a node that finds none leaves one behind as a daemon."""
        if self._mapper is None:
            command = ["epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1"]
            self._mapper = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        super()._launch(**how)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()

    def _end(self, sign: signal.Signals) -> None:
        """The script starts the node in the same session: all of it is ended."""
        if self._process is not None:
            _signal_group(self._process.pid, sign)
        super()._end(sign)
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGKILL)
            self._await_silence()

    def freeze(self) -> None:
        """Stop the whole session with SIGSTOP, the node too: it answers nobody. Undone by `thaw`."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def _await_silence(self) -> None:
        """The node is no child of ours, so its end is seen at its port."""
        for _ in range(STOP_SECONDS * 50):
            if not super()._answers():
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not end")


def _signal_group(leader: int, sign: signal.Signals) -> None:
    try:
        os.killpg(leader, sign)
    except ProcessLookupError:
        return
