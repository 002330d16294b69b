"""A real uvicorn for tests: started, told to stop, started again on its port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.harness.waiting import until

ROOT = Path(__file__).resolve().parents[3]


class UvicornServer:
    """One server process on a free port of this machine, for the length of a ``with``.

    ``app`` is a name in `served`, or another module's with a colon.
    """

    def __init__(self, folder: Path, *, app: str = "application", **environment: str) -> None:
        self.log_file = folder / "uvicorn.log"
        self._app = app if ":" in app else f"tests.integration.streaming.served:{app}"
        self._environment = environment
        self._process: subprocess.Popen[Any] | None = None
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]

    def __enter__(self) -> UvicornServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop(signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def start(self) -> None:
        """Start and wait until it takes connections."""
        command = [
            sys.executable, "-m", "uvicorn", self._app,
            "--port", str(self.port), "--timeout-graceful-shutdown", "15", "--backlog", "8192",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.integration.streaming.site_settings",
            **self._environment,
        }
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        until(self._is_up, what=f"uvicorn:\n{self.log}")

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"uvicorn ended:\n{self.log}")
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop and wait until it has; its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(sign)
        return self._process.wait(30)
