"""Names to classes: workers registered in every way there is, drivers found by name and by path, one for each alias."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from django_ais import conf, registry
from django_ais.apps import register_workers
from django_ais.backends.queue.memory import MemoryQueue
from django_ais.exceptions import ConfigurationError, UnknownDriverError, UnknownWorkerError
from django_ais.gateways import BaseGateway
from django_ais.queues import BaseQueue
from django_ais.workers import BaseWorker
from tests.harness.wording import words

MEMORY = {"QUEUES": {"default": "memory"}, "BUSES": {"default": "memory"}}


@pytest.fixture(autouse=True)
def own_workers() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(registry._workers)
    yield
    registry._workers.clear()
    registry._workers.update(before)


@pytest.fixture(autouse=True)
def own_drivers() -> Iterator[None]:
    """Drivers that a test made are closed after it."""
    yield
    for drivers in (registry.queues, registry.buses, registry.gateways):
        drivers.reset()


class Reads(BaseWorker):
    pass


class Writes(BaseWorker):
    pass


# -- workers -----------------------------------------------------------------------------------------------------------


def test_a_worker_is_registered_by_call_and_by_decorator():
    """Given two classes, when one is registered by a call and one by decorating, then both are found by name."""
    registry.register("reads", Reads)
    decorated = registry.register("writes")(Writes)

    assert registry.worker("reads") is Reads
    assert registry.worker("writes") is decorated is Writes
    assert {"reads", "writes"} <= set(registry.workers())


def test_registering_a_class_again_is_one_registration():
    """Given a registered class, when registered again (by hand and by discovery), then nothing changes."""
    registry.register("reads", Reads)

    registry.register("reads", Reads)

    assert list(registry.workers()).count("reads") == 1


def test_a_class_that_was_made_anew_takes_its_own_place():
    """Given a module that is loaded a second time, when its class comes again, then the newer one is used."""
    again = type("Reads", (BaseWorker,), {"__module__": Reads.__module__})
    registry.register("reads", Reads)

    registry.register("reads", again)

    assert registry.worker("reads") is again


def test_a_name_belongs_to_one_class():
    """Given a registered name, when another class wants it, then the error names both classes."""
    registry.register("reads", Reads)

    with pytest.raises(ConfigurationError, match=words("'reads'", "test_registry.Reads", "test_registry.Writes")):
        registry.register("reads", Writes)

    assert registry.worker("reads") is Reads


def test_an_unknown_worker_is_told_with_the_nearest_one():
    """Given registered workers, when another name is asked for, then the error suggests and says where to register."""
    registry.register("reads", Reads)

    with pytest.raises(UnknownWorkerError, match=words("'raeds'", "Did you mean 'reads'?", "AppConfig.ready()")):
        registry.worker("raeds")


def test_what_is_registered_cannot_be_changed_by_its_readers():
    """Given the mapping of workers, when a reader changes it, then the registry is as it was."""
    dict(registry.workers()).clear()
    before = set(registry.workers())

    registry.workers().clear()  # type: ignore[attr-defined]

    assert set(registry.workers()) == before != set()


def test_a_workers_module_registers_what_it_defines_and_not_what_it_imports():
    """Given a module with a worker of its own, one with a job_type and an imported one, when discovered, then the own
    ones are there by path and by type.
    """
    module: Any = ModuleType("shop.workers")
    module.Own = type("Own", (BaseWorker,), {"__module__": "shop.workers"})
    module.Typed = type("Typed", (BaseWorker,), {"__module__": "shop.workers", "job_type": "typed"})
    module.Imported, module.BaseWorker, module.number = Reads, BaseWorker, 5

    register_workers(module)

    assert registry.worker("shop.workers.Own") is module.Own
    assert registry.worker("typed") is registry.worker("shop.workers.Typed") is module.Typed
    assert not [name for name in registry.workers() if name.endswith(("Reads", "BaseWorker"))]


# -- finding drivers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drivers", "names"),
    [
        (registry.queues, {"memory", "immediate", "database"}),
        (registry.buses, {"memory", "database"}),
        (registry.gateways, {"scripted", "function"}),
    ],
)
def test_the_shipped_drivers_are_installed_under_their_names(drivers, names):
    """Given the package, when asked for installed drivers, then the shipped ones are there and can be loaded."""
    assert names <= set(drivers.installed())
    for name in names:
        assert issubclass(drivers.load(name), drivers._base)


def test_a_dotted_path_is_a_driver_too():
    """Given a path, when loaded, then it is that class."""
    assert registry.queues.load("django_ais.backends.queue.memory.MemoryQueue") is MemoryQueue


WRONG: dict[str, tuple[str, type[Exception], tuple[str, ...]]] = {
    "a slip of the pen": (
        "memry",
        UnknownDriverError,
        ("'memry'", "Installed: celery, database", "Did you mean 'memory'?"),
    ),
    "no such module": ("shop.queues.Queue", ConfigurationError, ("'shop.queues.Queue'", "cannot be imported", "shop")),
    "no such class": ("django_ais.backends.queue.memory.Queue", ConfigurationError, ("cannot be imported", '"Queue"')),
    "no driver": ("datetime.datetime", ConfigurationError, ("'datetime.datetime'", "not a queue driver", "BaseQueue")),
    "of another kind": ("django_ais.backends.bus.memory.MemoryBus", ConfigurationError, ("not a queue driver",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_driver_that_cannot_be_had_is_refused(case):
    """Given such a BACKEND, when loaded, then the error names it and what there is."""
    backend, kind, parts = WRONG[case]

    with pytest.raises(kind, match=words(*parts)):
        registry.queues.load(backend)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"thread": 4}, ("'default'", "MemoryQueue", "thread", "Options it knows: threads, drain_seconds")),
        ({"threads": "many"}, ("'default'", "threads", "integer")),
        ({"threads": 0}, ("threads", "greater than or equal to 1")),
    ],
)
def test_wrong_options_are_refused(options, parts, settings):
    """Given options a driver does not take, when it is built, then the error names alias, option and the known ones."""
    settings.DJANGO_AIS = {**MEMORY, "QUEUES": {"default": {"BACKEND": "memory", "OPTIONS": options}}}

    with pytest.raises(ConfigurationError, match=words(*parts)):
        registry.queues["default"]


def test_a_wrong_option_is_not_shown_with_its_value(settings):
    """Given an option whose value may be a secret, when refused, then the error and its causes do not show it."""
    settings.DJANGO_AIS = {**MEMORY, "QUEUES": {"default": {"BACKEND": "memory", "OPTIONS": {"password": "hush"}}}}

    with pytest.raises(ConfigurationError) as caught:
        registry.queues["default"]

    assert "hush" not in f"{caught.value} {caught.value.__cause__}"


def test_a_driver_of_another_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    """Given a package that declares an entry point, when settings name it, then its class is loaded, only then."""
    install(tmp_path, "acme_queue", "django_ais.queue", "acme = acme_queue:AcmeQueue")
    monkeypatch.syspath_prepend(tmp_path)

    assert "acme" in registry.queues.installed()
    assert "acme_queue" not in sys.modules
    loaded: Any = registry.queues.load("acme")
    assert (loaded.__name__, loaded.__mro__[1]) == ("AcmeQueue", BaseQueue)


def test_installed_packages_are_read_once(monkeypatch):
    """Given a driver whose class was found, when it is asked for again, as a forked process does, then no package is
    read again.
    """
    registry.queues.reset()
    found = registry.queues.load("memory")
    monkeypatch.delattr(registry, "entry_points")

    assert registry.queues.load("memory") is found


def test_a_package_that_cannot_be_imported_is_told(tmp_path, monkeypatch):
    """Given an entry point to a module that lacks its library, when loaded, then the error names driver and library."""
    install(tmp_path, "acme_lost", "django_ais.queue", "acmelost = acme_lost:AcmeQueue", "import acme_client\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigurationError, match=words("'acmelost'", "cannot be imported", "acme_client")):
        registry.queues.load("acmelost")


def install(folder: Path, name: str, group: str, entry: str, head: str = "") -> None:
    """A package as pip leaves one: a module, and metadata beside it."""
    source = f"{head}from django_ais.queues import BaseQueue\n\n\nclass AcmeQueue(BaseQueue):\n    pass\n"
    (folder / f"{name}.py").write_text(source)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


# -- one instance for each alias and process ---------------------------------------------------------------------------


class Counted(BaseQueue):
    """A driver that counts how often it is made and closed, slowly enough for a race to be lost."""

    made: list[str] = []
    closed: list[str] = []
    gate = threading.Event()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate.wait(0.05)
        self.made.append(self.alias)

    def close(self) -> None:
        self.closed.append(self.alias)


@pytest.fixture
def counted(settings):
    Counted.made, Counted.closed = [], []
    path = f"{__name__}.Counted"
    settings.DJANGO_AIS = {**MEMORY, "QUEUES": {"default": path, "bulk": path}}


def test_threads_share_one_instance_of_an_alias(counted):
    """Given many threads at once, when each asks for the same alias, then one instance is made for all."""
    together, got = threading.Barrier(8), []

    def ask() -> None:
        together.wait()
        got.append(registry.queues["default"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (Counted.made, len(got), len(set(map(id, got)))) == (["default"], 8, 1)


def test_each_alias_has_an_instance_of_its_own(counted):
    """Given two aliases of one driver, when asked for, then they are two and know their names."""
    default, bulk = registry.queues["default"], registry.queues["bulk"]

    assert (default.alias, bulk.alias) == ("default", "bulk")
    assert default is not bulk


def test_instances_are_closed_and_made_anew_when_the_settings_change(counted, settings):
    """Given a driver in use, when DJANGO_AIS changes, then it is closed, and the next use makes another."""
    before = registry.queues["default"]

    settings.DJANGO_AIS = dict(settings.DJANGO_AIS)

    assert Counted.closed == ["default"]
    assert registry.queues["default"] is not before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_gets_instances_of_its_own(counted):
    """Given a driver in use, when the process forks, then the child makes its own and does not close the parent's."""
    before = registry.queues["default"]
    child = os.fork()
    if child == 0:
        own = registry.queues["default"]
        registry.queues.reset()
        os._exit(0 if own is not before and Counted.closed == ["default"] else 1)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert (registry.queues["default"], Counted.closed) == (before, [])


def test_a_driver_knows_the_handler_and_the_source_by_path(counted):
    """Given a driver, when it is built, then it gets our handler and source as dotted paths that can be imported."""
    queue = registry.queues["default"]

    assert queue.handler_path == registry.HANDLER
    assert callable(queue.handler)
    assert queue.source_path == registry.QUEUE_SOURCE


# -- gateways of workers -----------------------------------------------------------------------------------------------


class Local(BaseGateway):
    pass


def test_the_base_gateway_means_the_one_of_the_settings(settings):
    """Given gateway_class = BaseGateway, when asked for, then it is the settings' driver of that alias."""
    settings.DJANGO_AIS = {**MEMORY, "GATEWAYS": {"default": "scripted", "fast": "scripted"}}

    assert registry.gateway_of(BaseGateway, "fast") is registry.gateways["fast"]


def test_a_gateway_class_of_ones_own_is_made_once():
    """Given a gateway class of the application's, when asked for twice, then it is one instance with the alias."""
    first = registry.gateway_of(Local, "default")

    assert isinstance(first, Local)
    assert registry.gateway_of(Local, "default") is first


def test_a_gateway_class_keeps_each_alias_apart():
    """Given one gateway class on two workers with aliases of their own, when asked for, then each knows its alias."""
    assert registry.gateway_of(Local, "default").alias == "default"
    assert registry.gateway_of(Local, "slow").alias == "slow"


def test_no_gateway_without_settings_says_what_to_add(settings):
    """Given no GATEWAYS, when a worker needs one, then the error shows the lines."""
    settings.DJANGO_AIS = MEMORY

    with pytest.raises(ConfigurationError, match=words("No gateway is configured", conf.DOCS)):
        registry.gateway_of(BaseGateway, "default")
