"""The driver's class alone: what can be said of it without an engine, a database or Django's settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from django_ais.conformance.profile import Profile, capabilities, filled
from django_ais.conformance.site import GIVEN, SETTINGS

PORT = 9  # nobody listens there, and nothing here connects

BUILD = """
import importlib, json, sys, sysconfig
path, options, paths = json.loads(sys.argv[1])
module, _, name = path.rpartition(".")
driver = getattr(importlib.import_module(module), name)
import django_ais.drivers
seen, watching = [], [False]
NOISY = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "sqlite3.connect")
def hook(event, arguments):
    if watching[0] and event in NOISY:
        seen.append(event)
    if watching[0] and event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append("open for writing")
sys.addaudithook(hook)
before = set(sys.modules)
watching[0] = True
driver("default", options, **paths)
watching[0] = False
ours = {"django_ais", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
new = {name.partition(".")[0] for name in set(sys.modules) - before} - ours - set(sys.stdlib_module_names)
import threading
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
print(json.dumps({"events": seen, "modules": sorted(new - {module.partition(".")[0]}), "threads": threads}))
"""


@dataclass(frozen=True)
class Subject:
    """A profile and the class it names."""

    profile: type[Profile]
    driver: type[Any]

    @property
    def options(self) -> dict[str, Any]:
        """The profile's options, on a port where nobody listens."""
        options: dict[str, Any] = filled(
            self.profile.options, ports=[PORT] * max(len(self.profile.servers), 1), folder="/nonexistent"
        )
        return options

    @property
    def paths(self) -> dict[str, str]:
        """A core that is not there."""
        return {name: f"nowhere.{name}" for name in self.profile.paths}

    def build(self, **options: Any) -> Any:
        """An instance, without a core behind it."""
        return self.driver("default", {**self.options, **options}, **self.paths)

    @cached_property
    def said(self) -> dict[str, Any]:
        """What a driver with the profile's options says of itself in the suite's project (`project.saying`)."""
        chosen = {"default": {"BACKEND": self.profile.driver, "OPTIONS": self.options}}
        drivers = {"QUEUES": {"default": "immediate"}, "BUSES": {"default": "database"}, self.profile.setting: chosen}
        given = {"ais": drivers}
        further = filled(self.profile.settings, ports=[PORT], folder="/nonexistent")
        environment = {
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            GIVEN: json.dumps({**given, "apps": list(self.profile.apps), **further}),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path])),
        }
        said: dict[str, Any] = _printed(
            ["-m", "django_ais.conformance.project.saying", self.profile.kind],
            "asking the driver",
            {**os.environ, **environment},
        )
        return said

    @property
    def flags(self) -> dict[str, Any]:
        """Its flags with the profile's options; where it cannot be asked, its class's."""
        try:
            found: dict[str, Any] = self.said["capabilities"]
        except AssertionError:  # Q-STATIC-006 tells why
            return capabilities(self.driver, self.profile)
        return found

    @cached_property
    def building(self) -> dict[str, list[str]]:
        """What building one does in a fresh process: audit events, modules imported, threads begun."""
        argument = json.dumps([f"{self.driver.__module__}.{self.driver.__qualname__}", self.options, self.paths])
        said: dict[str, list[str]] = _printed(["-c", BUILD, argument], "building the driver in a fresh process")
        return said


def _printed(arguments: list[str], what: str, environment: dict[str, str] | None = None) -> Any:
    """What a Python process prints at its end, as JSON. Raises AssertionError if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise AssertionError(f"{what} failed:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def load_driver(profile: type[Profile]) -> type[Any]:
    """The class that a profile names. Raises `ConfigurationError` and its kin if there is none."""
    from django_ais import registry

    drivers: Any = getattr(registry, profile.setting.lower())
    driver: type[Any] = drivers.load(profile.driver)
    return driver
