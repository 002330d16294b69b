"""``manage.py ais_doctor``: checks, round trips and versions, on one screen to paste into an issue."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import django
from django.core.checks import run_checks
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connections

import django_ais
from django_ais import conf, registry
from django_ais.exceptions import AisError
from django_ais.models import Election, JobPacket, Workflow
from django_ais.runtime import database

PACKAGES = ("pydantic", "celery", "redis", "psycopg", "dramatiq", "rq", "nats-py", "channels")


class Command(BaseCommand):
    help = "Check the settings, reach the database and the drivers, print versions. Exit code 1 if something is wrong."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each thing looked at."""
        wrong = 0
        for name, look in _looks():
            begun = time.perf_counter()
            try:
                said = look()
            except (AisError, DatabaseError) as error:
                wrong += 1
                self.stdout.write(f"{self.style.ERROR('wrong')}  {name}: {error}")
            else:
                took = (time.perf_counter() - begun) * 1000
                self.stdout.write(f"{self.style.SUCCESS('ok')}     {name}: {said} ({took:.1f} ms)")
        wrong += self._checks()
        if wrong:
            sys.exit(1)

    def _checks(self) -> int:
        found = run_checks(tags=["django_ais"], databases=[database.database()])
        for message in found:
            self.stdout.write(f"{'wrong' if message.is_serious() else 'note'}   {message.id}: {message.msg}")
            if message.hint:
                self.stdout.write(f"       {message.hint}")
        return sum(message.is_serious() for message in found)


def _looks() -> Iterator[tuple[str, Callable[[], str]]]:
    yield "versions", _versions
    yield "database", _database
    yield "rows", _rows
    yield "sweep", _sweep
    try:
        current = conf.current()
    except AisError:
        return  # the checks say what is wrong with the settings
    for alias in current.queues:
        yield f"queue '{alias}'", partial(_queue, alias)
    for alias in current.buses:
        yield f"bus '{alias}'", partial(_bus, alias)
    for alias in current.gateways:
        yield f"gateway '{alias}'", partial(_kind, registry.gateways, alias)


def _versions() -> str:
    own = f"django-ais {django_ais.__version__}, Django {django.get_version()}, Python {platform.python_version()}"
    return ", ".join([own, *(f"{name} {found}" for name in PACKAGES if (found := _version(name)))])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _database() -> str:
    current = connections[database.database()]
    with current.cursor() as cursor:
        cursor.execute("SELECT 1")
    return f"{current.vendor} {'.'.join(map(str, current.get_database_version()))}, alias '{database.database()}'"


def _rows() -> str:
    using = database.database()
    oldest = (
        JobPacket.objects.using(using).filter(status="queued", run_after__lte=database.moment()).order_by("run_after")
    )
    due = oldest.values_list("run_after", flat=True).first()
    age = (
        "nothing is due"
        if due is None
        else f"the oldest due job waits {(database.moment() - due).total_seconds():.0f} s"
    )
    return f"{Workflow.objects.using(using).count()} workflow versions; {age}"


def _sweep() -> str:
    held = Election.objects.using(database.database()).filter(duty="sweep").first()
    if held is None:
        return "nobody has swept yet; a worker process does (manage.py ais_worker)"
    ago = (database.moment() - held.expires_at).total_seconds()
    return "a worker process sweeps" if ago < 0 else f"nobody has swept for {ago:.0f} s; is a worker process running?"


def _kind(drivers: Any, alias: str) -> str:
    return type(drivers[alias]).__name__


def _bus(alias: str) -> str:
    bus = registry.buses[alias]
    return _with_doubts(type(bus).__name__, bus)


def _queue(alias: str) -> str:
    queue = registry.queues[alias]
    queue.ping()
    depth = queue.depth()
    said = type(queue).__name__ + ("" if depth is None else f", {depth} messages wait")
    return _with_doubts(said, queue)


def _with_doubts(said: str, driver: Any) -> str:
    """What only the running server could tell besides; the checks tell of the rest."""
    known = driver.check()
    return "; ".join([said, *(doubt for doubt in driver.probe() if doubt not in known)])
