"""What the benchmarks share: a migrated database, worker processes, and the clocks of everything that takes part."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.peers import end

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Site:
    """The project under measurement."""

    scale: float
    postmaster: int | None
    peers: bool = False
    rounds: int = 1
    subscribers: int = 100

    @classmethod
    def prepare(cls, *, postmaster: int | None, **choices: Any) -> Site:
        """Set Django up on an empty, migrated database."""
        os.environ.update(
            DJANGO_SETTINGS_MODULE="tests.settings",
            AIS_TEST_QUEUE="database",
            AIS_TEST_BUS="database",
        )
        if postmaster is not None:
            _create_database()
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        return cls(postmaster=postmaster, **choices)

    def close(self) -> None:
        """End this process's own threads before the database goes."""
        from django_ais import registry
        from django_ais.runtime.host import host

        registry.queues.reset()
        host.stop()

    def count(self, number: int) -> int:
        """How many, at this scale."""
        return max(int(number * self.scale), 10)

    @contextmanager
    def workers(
        self, environment: Mapping[str, str] | None = None, *, processes: int = 2, concurrency: int = 4
    ) -> Iterator[list[int]]:
        """Worker processes of the queue `default`, with this environment over ours; their process ids."""
        command = [
            sys.executable,
            "-m",
            "django",
            "ais_worker",
            "--concurrency",
            str(concurrency),
            "--drain-seconds",
            "2",
        ]
        own = {**os.environ, **(environment or {})}
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, env=own) for _ in range(processes)]
        try:
            for process in started:
                assert process.stdout is not None
                if not process.stdout.readline():  # says that it is ready
                    raise RuntimeError(f"a worker process ended with code {process.wait()}; its reason is above")
            yield [process.pid for process in started]
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                end(process, seconds=30)

    def cpu(self, workers: Sequence[int] = ()) -> float:
        """Seconds of processor time of this process, the workers and the database so far."""
        return sum(_cpu_of(pid) for pid in [os.getpid(), *workers]) + self.database_cpu()

    def database_cpu(self) -> float:
        """Seconds of processor time of the database so far."""
        return 0.0 if self.postmaster is None else family_cpu(self.postmaster)

    def transactions(self) -> int:
        """How many transaction ids the database has given out: writing transactions alone draw one."""
        return int(one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")) if self.postmaster else 0


def _create_database() -> None:
    import psycopg

    port = os.environ["AIS_TEST_PG_PORT"]
    with psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute("CREATE DATABASE ais_test")


def _cpu_of(pid: int) -> float:
    """User and system seconds of a process, its ended children included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def family_cpu(pid: int) -> float:
    """User and system seconds of a process and of all that it has started, the ended ones included."""
    return _cpu_of(pid) + sum(family_cpu(child) for child in _children_of(pid))


def _children_of(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, thread.read_text().split())
    return found


def one(statement: str) -> Any:
    """The one value that a statement gives."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def await_all(ids: Sequence[Any], *, seconds: float = 300.0) -> None:
    """Until these jobs have ended; looks at the last one twenty times a second, then at all of them."""
    from django_ais.models import JobPacket

    end = time.monotonic() + seconds
    while any(JobPacket.objects.filter(id__in=some).open().exists() for some in (ids[-1:], ids)):
        if time.monotonic() > end:
            raise TimeoutError(f"jobs are still open after {seconds} s")
        time.sleep(0.05)


@dataclass
class Table:
    """Rows of figures under a heading."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, what: str, **figures: Any) -> None:
        """Add a row and print it at once."""
        if not self.rows:
            print(f"\n{self.title}", flush=True)
        self.rows.append({"what": what, **figures})
        shown = "  ".join(f"{name} {_shown(value)}" for name, value in figures.items())
        print(f"  {what:<44} {shown}", flush=True)
        if path := os.environ.get("AIS_BENCH_JSON"):
            with Path(path).open("a") as file:
                file.write(json.dumps({"table": self.title, **self.rows[-1]}) + "\n")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


__all__ = ["Site", "Table", "await_all", "family_cpu", "median", "one", "percentile"]
