"""Names to classes: the workers of this process, and the drivers that the settings name.

Workers are registered in ``AppConfig.ready()`` or by decorating the class; the ``workers`` module of each installed app
is imported by itself. Drivers are found through the entry-point groups ``django_ais.queue``, ``django_ais.bus`` and
``django_ais.gateway``, or by a dotted path; nothing is imported that no setting names.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, overload

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.encoding import force_bytes
from django.utils.module_loading import import_string

from django_ais import conf
from django_ais.buses import BaseBus
from django_ais.drivers import missing_modules
from django_ais.exceptions import ConfigurationError, UnknownDriverError, UnknownWorkerError
from django_ais.gateways import BaseGateway
from django_ais.queues import BaseQueue

HANDLER = "django_ais.runtime.runner.handle"
HOST = "django_ais.runtime.host.host"
QUEUE_SOURCE = "django_ais.runtime.source.due_jobs"
BUS_SOURCE = "django_ais.runtime.reading.committed"
EXTRAS = {"dramatiq", "django_tasks", "rq", "nats", "channels", "postgres", "openai", "anthropic", "pydantic-ai"}

W = TypeVar("W", bound=type)
D = TypeVar("D", BaseQueue, BaseBus, BaseGateway)

_workers: dict[str, type] = {}


@overload
def register(name: str) -> Callable[[W], W]: ...
@overload
def register(name: str, worker: W) -> W: ...
def register(name: str, worker: Any = None) -> Any:
    """Name a worker class: ``register("SUMMARIZE", Worker)``, or ``@register("SUMMARIZE")`` above the class.

    The class is known by its dotted path too. Registering it again under the same name changes nothing. Raises
    `ConfigurationError` if the name belongs to another class.
    """
    if worker is None:
        return lambda decorated: register(name, decorated)
    known = _workers.setdefault(name, worker)
    if _path(known) != _path(worker):
        raise ConfigurationError(
            f"Worker name {name!r} belongs to {_path(known)}; {_path(worker)} needs another name or must go."
        )
    _workers[name] = _workers[_path(worker)] = worker
    return worker


def _path(worker: type) -> str:
    return f"{worker.__module__}.{worker.__qualname__}"


def worker(name: str) -> type:
    """The class registered under a name. Raises `UnknownWorkerError` saying what is registered."""
    try:
        return _workers[name]
    except KeyError:
        raise UnknownWorkerError(
            f"No worker is registered as {name!r}.{conf.did_you_mean(name, _workers)} "
            f"Registered: {', '.join(sorted(_workers)) or 'none'}. "
            "Register it in AppConfig.ready(), or put it into the 'workers' module of an installed app."
        ) from None


def workers() -> Mapping[str, type]:
    """All registered names and their classes."""
    return dict(_workers)


class Drivers(Generic[D]):
    """The drivers of one kind by alias: one instance per alias and process, made at first use, dropped after a fork."""

    def __init__(
        self, kind: str, base: type[D], configure: Callable[[conf.Settings, str], conf.DriverSettings]
    ) -> None:
        self._kind = kind
        self._base: type[D] = base
        self._configure = configure
        self._lock = threading.Lock()
        self._instances: dict[tuple[int, str], D] = {}
        self._found: dict[str, Any] = {}  # classes by entry point; a forked process need not look for them again

    def __getitem__(self, alias: str) -> D:
        """The driver of an alias. Raises `ConfigurationError` for an unknown alias, driver or option."""
        key = (os.getpid(), alias)
        if (found := self._instances.get(key)) is not None:
            return found
        with self._lock:
            if key not in self._instances:
                self._instances[key] = self.build(alias)
            return self._instances[key]

    def build(self, alias: str) -> D:
        """A new instance from the settings."""
        driver = self._configure(conf.current(), alias)
        return self.load(driver.backend)(alias, driver.options, **self._paths())

    def _paths(self) -> dict[str, Any]:
        if self._kind == "queue":
            return {"handler": HANDLER, "host": HOST, "source": QUEUE_SOURCE}
        return {"source": BUS_SOURCE, "keys": bus_keys()} if self._kind == "bus" else {}

    def load(self, backend: str) -> Callable[..., D]:
        """The class of a driver. Raises `UnknownDriverError` that lists the installed ones."""
        try:
            found: Any = import_string(backend) if "." in backend else self._entry_point(backend)
        except ImportError as error:
            raise ConfigurationError(
                f"The {self._kind} driver {backend!r} cannot be imported: {error}.{_advice(backend)}"
            ) from error
        if not (isinstance(found, type) and issubclass(found, self._base)):
            raise ConfigurationError(f"{backend!r} is not a {self._kind} driver: it must be a {self._base.__name__}.")
        if missing := missing_modules(getattr(found, "needs", ())):
            raise ConfigurationError(
                f"The {self._kind} driver {backend!r} needs {' and '.join(missing)}, which is not installed."
                f"{_advice(backend)}"
            )
        return found

    def _entry_point(self, name: str) -> Any:
        """What an entry point names, kept: every installed distribution is read to find it."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Any:
        from stevedore.driver import DriverManager
        from stevedore.exception import NoMatches

        installed = self.installed()
        if name not in installed:
            raise UnknownDriverError(self._unknown(name, installed))
        try:
            manager: Any = DriverManager(
                f"django_ais.{self._kind}", name, invoke_on_load=False, on_load_failure_callback=_raise
            )
        except NoMatches:  # stevedore's cache on disk is older than the installation
            return next(iter(entry_points(group=f"django_ais.{self._kind}", name=name))).load()
        return manager.extensions[0].plugin

    def installed(self) -> list[str]:
        """The names of the installed drivers; none is imported."""
        return sorted({point.name for point in entry_points(group=f"django_ais.{self._kind}")})

    def _unknown(self, name: str, installed: list[str]) -> str:
        text = f"No {self._kind} driver named {name!r}. Installed: {', '.join(installed) or 'none'}."
        return text + conf.did_you_mean(name, installed)

    @contextmanager
    def override(self, alias: str, driver: D) -> Iterator[D]:
        """Let an alias mean this instance, in this process: for tests."""
        key = (os.getpid(), alias)
        before = self._instances.get(key)
        self._instances[key] = driver
        try:
            yield driver
        finally:
            self._instances.pop(key, None)
            if before is not None:
                self._instances[key] = before

    def reset(self) -> None:
        """Close and forget this process's instances."""
        with self._lock:
            instances, self._instances = self._instances, {}
            self._found = {}
        for (pid, _), instance in instances.items():
            if pid == os.getpid() and hasattr(instance, "close"):
                instance.close()


def _advice(backend: str) -> str:
    return f" Try: pip install 'django-ais[{backend}]'." if backend in EXTRAS else ""


def bus_keys() -> list[bytes]:
    """What frames on a bus are signed with (the first) and verified with (any): made of the project's secret keys."""
    secrets = [settings.SECRET_KEY, *getattr(settings, "SECRET_KEY_FALLBACKS", [])]
    return [hashlib.sha256(b"django_ais.bus\0" + force_bytes(secret)).digest() for secret in secrets]


def _raise(manager: Any, entrypoint: Any, error: BaseException) -> None:
    raise error


queues = Drivers("queue", BaseQueue, conf.Settings.queue)
buses = Drivers("bus", BaseBus, conf.Settings.bus)
gateways = Drivers("gateway", BaseGateway, conf.Settings.gateway)


_own_gateways: dict[tuple[int, type[BaseGateway], str], BaseGateway] = {}


def gateway_of(kind: type[BaseGateway], alias: str) -> BaseGateway:
    """The gateway of a worker: `BaseGateway` itself means the one that the settings name under the alias.

    A class of the application's own is made once for each alias and process, without options.
    """
    if kind is BaseGateway:
        return gateways[alias]
    key = (os.getpid(), kind, alias)
    if (found := _own_gateways.get(key)) is not None:
        return found
    return _own_gateways.setdefault(key, kind(alias))


def _reset(*, setting: str, **_: Any) -> None:
    if setting in ("DJANGO_AIS", "SECRET_KEY", "SECRET_KEY_FALLBACKS"):
        for drivers in (queues, buses, gateways):
            drivers.reset()


setting_changed.connect(_reset, dispatch_uid="django_ais.registry")
