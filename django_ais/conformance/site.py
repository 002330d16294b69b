"""Where the suite's jobs live: a folder, a database, the Django project upon them. Set up once for each process."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

from django_ais.conformance.ledger import PLACE, Ledger
from django_ais.conformance.servers import PostgresServer

SETTINGS = "django_ais.conformance.project.settings"
GIVEN = "AIS_CONFORMANCE_SETTINGS"
PORT = "AIS_CONFORMANCE_PG_PORT"


class Site:
    """The folder and the database. Children of this process find both through its environment."""

    def __init__(self, database: Literal["sqlite", "postgres"]) -> None:
        self.database = database
        self.numbers = itertools.count(1)  # names in the folder are used once
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="ais-conformance-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.orders = self.folder / "orders"
            self.orders.mkdir()
            self.ledger = Ledger(self.folder / "ledger")
            os.environ[PLACE] = str(self.folder)
            os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))
            os.environ.pop(PORT, None)
            if self.database == "postgres":
                os.environ[PORT] = str(stack.enter_context(PostgresServer()).port)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        if "django" in sys.modules:
            from django.db import connections

            connections.close_all()
        self._stack.close()

    def give(self, settings: dict[str, Any]) -> None:
        """Let this process and its children have these settings; the tables are made with the first ones."""
        from django.apps import apps

        os.environ[GIVEN] = json.dumps(settings)
        if not apps.ready:
            import django

            django.setup()
            _make_tables()

    @property
    def environment(self) -> dict[str, str]:
        """What a child process gets."""
        return {**os.environ, "PYTHONUNBUFFERED": "1"}

    def database_version(self) -> str:
        """The database and its version."""
        from django.db import connection

        if connection.vendor == "sqlite":
            import sqlite3

            return f"SQLite {sqlite3.sqlite_version}"
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            return f"PostgreSQL {cursor.fetchone()[0]}"


def _make_tables() -> None:
    from django.core.management import call_command
    from django.db import connection

    from django_ais.conformance.project.workers import EFFECTS

    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {EFFECTS} (job varchar(40) NOT NULL)")
