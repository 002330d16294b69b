"""What a driver's author writes: which driver, with which options, on which servers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from django_ais.buses import BaseBus
from django_ais.conformance.manifest import BY_ID, Kind, Requirement
from django_ais.conformance.servers import Server
from django_ais.exceptions import ConfigurationError
from django_ais.queues import BaseQueue


class Profile:
    """A driver under test. To write: ``driver``; the rest only where the driver needs it.

    In ``options``, ``settings`` and ``worker_command`` the words ``{port}`` (of the first server), ``{ports[1]}``,
    ``{folder}`` (a temporary one) and ``{python}`` are filled in. Capabilities are the driver's own flags and are not
    repeated here.
    """

    kind: ClassVar[Kind]
    base: ClassVar[type[Any]]  # what the driver is made from
    setting: ClassVar[str]  # the key of DJANGO_AIS that chooses it
    paths: ClassVar[Sequence[str]]  # what the core hands to a driver, by dotted path
    limits: ClassVar[Sequence[str]]  # attributes of the driver that are numbers

    driver: ClassVar[str] = ""  # an entry point in django_ais.queue or django_ais.bus, or a dotted path
    options: ClassVar[Mapping[str, Any]] = {}
    servers: ClassVar[Sequence[type[Server]]] = ()  # what the engine needs to run
    requires: ClassVar[Sequence[str]] = ()  # distributions whose versions belong into the report
    known_failures: ClassVar[Mapping[str, str]] = {}  # requirement id: link; strict, one that passes is an error

    database: ClassVar[Literal["sqlite", "postgres"]] = "sqlite"  # where the jobs live
    settings: ClassVar[Mapping[str, Any]] = {}  # Django settings that the engine needs
    apps: ClassVar[Sequence[str]] = ()  # ... and its Django apps

    @classmethod
    def has(cls, word: str, flags: Mapping[str, Any]) -> bool:
        """Whether a word of `Requirement.capability` is true of this driver."""
        return bool(cls.servers) if word == "servers" else bool(flags[word])


class QueueProfile(Profile):
    """A queue driver under test."""

    kind = "queue"
    base = BaseQueue
    setting = "QUEUES"
    paths = ("handler", "host", "source")
    limits = ("max_run_after", "max_batch")

    worker_command: ClassVar[Sequence[str] | None] = None  # for drivers that start no worker process
    rows_only: ClassVar[bool] = False  # Is the table of jobs the queue, so that a message without a row is nothing?

    @classmethod
    def has(cls, word: str, flags: Mapping[str, Any]) -> bool:
        """Jobs of an embedded engine run in the process that dispatches: no worker process can be lost."""
        if flags["is_embedded"] and word in ("redelivers_on_worker_loss", "process"):
            return False
        return word == "process" or super().has(word, flags)


class BusProfile(Profile):
    """A bus driver under test."""

    kind = "bus"
    base = BaseBus
    setting = "BUSES"
    paths = ("source",)
    limits = ("max_inline_bytes",)

    @classmethod
    def has(cls, word: str, flags: Mapping[str, Any]) -> bool:
        """Jobs run in worker processes where the bus reaches other processes."""
        return super().has("crosses_processes" if word == "process" else word, flags)


def load_profile(path: str, kind: Kind) -> type[Profile]:
    """The profile at ``module:Class``. Raises `ConfigurationError` that says what is wrong with it."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"No profile at {path!r}: {error}. Write it as module:Class.") from error
    if not (isinstance(found, type) and issubclass(found, Profile) and found.driver and found.kind == kind):
        raise ConfigurationError(f"{path!r} is no {kind.capitalize()}Profile with a driver.")
    for name, link in found.known_failures.items():
        if name not in BY_ID or BY_ID[name].kind != kind:
            raise ConfigurationError(f"known_failures of {path!r} names {name!r}, which is no requirement of a {kind}.")
        if not link.startswith(("https://", "http://")):
            raise ConfigurationError(f"known_failures of {path!r}: {name} needs a link to its issue.")
    return found


def filled(value: Any, *, ports: Sequence[int], folder: str) -> Any:
    """A value of a profile with its placeholders filled in."""
    if isinstance(value, str):
        words = {"port": next(iter(ports), 0), "ports": ports, "folder": folder, "python": sys.executable}
        return value.format(**words) if "{" in value else value
    if isinstance(value, Mapping):
        return {key: filled(item, ports=ports, folder=folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, ports=ports, folder=folder) for item in value]
    return value


def applies(requirement: Requirement, profile: type[Profile], flags: Mapping[str, Any]) -> bool:
    """Whether a requirement is asked of a driver with these flags. Only the suite may say no."""
    words = (requirement.capability or "").split()
    return all(profile.has(word.removeprefix("!"), flags) is not word.startswith("!") for word in words)


def capabilities(driver: Any, profile: type[Profile]) -> dict[str, Any]:
    """The flags of a driver, and its limits as numbers; of times in seconds."""
    flags = [name for name, value in vars(profile.base).items() if isinstance(value, bool)]
    found: dict[str, Any] = {name: bool(getattr(driver, name)) for name in flags}
    for name in profile.limits:
        value = getattr(driver, name)
        found[name] = value.total_seconds() if isinstance(value, timedelta) else value
    return found
