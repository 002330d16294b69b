"""What the drivers of both kinds are tried on: their servers, the settings of the suite's project, worker processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Self

from django_ais.conformance.profile import Profile, filled
from django_ais.conformance.servers import Server
from django_ais.conformance.site import Site
from django_ais.conformance.waiting import until
from django_ais.conformance.worker import Worker
from django_ais.queues import BaseQueue, QueueMessage

LEASE_SECONDS = 2.0
ALIAS = "default"


class Workbench:
    """One driver under test, in the project's settings under the alias ``default``. To write: `SETTINGS`."""

    SETTINGS: ClassVar[Mapping[str, Any]]
    profile: type[Any]

    def __init__(self, profile: type[Profile], site: Site) -> None:
        self.profile = profile
        self.site = site
        self.patience = 30.0  # seconds until something that must happen has happened
        self.ledger = site.ledger
        self.servers: list[Server] = []
        self.workers: list[Worker] = []
        self.facts: dict[str, Any] = {}  # what the process tier counted, for the report
        self._numbers = site.numbers
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for kind in self.profile.servers:
                self.servers.append(stack.enter_context(kind()))
            stack.callback(self._leave)
            self._set_up(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _set_up(self, stack: ExitStack) -> None:
        self.configure()
        drivers = self._drivers()
        self.driver: type[Any] = drivers.load(self.profile.driver)
        stack.callback(drivers.reset)

    def _drivers(self) -> Any:
        """The registry of this kind."""
        from django_ais import registry

        return getattr(registry, self.profile.setting.lower())

    def configure(self, **changes: Any) -> None:
        """Give the settings to this process and to the worker processes that are started from now on."""
        from django_ais import conf

        driver = {"BACKEND": self.profile.driver, "OPTIONS": self.filled(self.profile.options)}
        self.settings = {**self.SETTINGS, **changes, self.profile.setting: {ALIAS: driver}}
        further = self.filled(self.profile.settings)
        self.site.give({"ais": self.settings, "apps": list(self.profile.apps), **further})
        from django.conf import settings

        settings.DJANGO_AIS = self.settings
        for name, value in further.items():
            setattr(settings, name, value)
        conf.current.cache_clear()
        self._drivers().reset()

    def begin(self) -> None:
        """Get ready for a test."""

    @property
    def ports(self) -> list[int]:
        """Where the servers listen."""
        return [server.port for server in self.servers]

    def filled(self, value: Any, *ports: int) -> Any:
        """A value of the profile, for the servers' ports or for these."""
        return filled(value, ports=ports or self.ports, folder=str(self.site.folder))

    def hire(self, *, concurrency: int = 1, command: Sequence[str] | None = None) -> Worker:
        """Start a worker process, by this command or by `ais_worker`."""
        if command is None:
            command = [sys.executable, "-m", "django", "ais_worker", "--concurrency", str(concurrency)]
        number = next(self._numbers)
        name = f"worker-{number}"
        environment = {**self.site.environment, "PGAPPNAME": name}
        worker = Worker(self.filled(command), environment, self.site.folder / f"{name}.log")
        self.workers.append(worker)
        return worker

    def dismiss(self) -> None:
        """End all worker processes at once."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def until(self, question: Callable[[], object], *, what: str) -> None:
        """Wait for something as long as it is worth waiting. Raises AssertionError that names it."""
        until(question, what=what, seconds=self.patience)

    def _leave(self) -> None:
        self.dismiss()
        from django.apps import apps

        if apps.ready:
            from django_ais.runtime.host import host

            host.stop()


class DeafQueue(BaseQueue):
    """Takes everything and does nothing: rows are made without a message."""

    supports_run_after = True
    supports_priority = True

    def __init__(self) -> None:
        super().__init__(ALIAS, handler="nowhere.handle")

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        """Nothing."""
