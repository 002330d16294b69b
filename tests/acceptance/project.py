"""A Django project of its own in a folder of its own, worked on as a person does: files, and ``python manage.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

MANAGE = """
    import os
    import sys

    if __name__ == "__main__":
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
"""
SETTINGS = """
    from pathlib import Path

    BASE_DIR = Path(__file__).resolve().parent.parent
    SECRET_KEY = "not a secret"
    DEBUG = True
    USE_TZ = True
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
    DATABASES = {"default": %s}
"""
DATABASE = "ais_first_example"
SECONDS = 60


class Project:
    """A folder with a project in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("manage.py", MANAGE)
        self.write("config/__init__.py", "")
        self.write("config/settings.py", dedent(SETTINGS) % database())

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip(), encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        """Write more into a file of the project."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write("\n" + dedent(text).lstrip())

    def read(self, name: str) -> str:
        """What a file of the project holds."""
        return (self.folder / name).read_text(encoding="utf-8")

    def manage(self, *arguments: str, fails: bool = False) -> str:
        """Run ``python manage.py ...`` to its end; return what it said, errors included."""
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "manage.py", *arguments],
            cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, f"manage.py {' '.join(arguments)} ended with {done.returncode}:\n{said}"
        return said

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``python manage.py ...`` and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-u", "manage.py", *arguments],
            cwd=self.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def call(self, module: str, *functions: str) -> dict[str, Any]:
        """Call functions of a module of the project in a process of its own; return what each returned, as JSON."""
        said = self.manage("try_out", module, *functions)
        (line,) = [line for line in said.splitlines() if line.startswith(ANSWER)]
        answers: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
        return answers


ANSWER = "ANSWER "
TRY_OUT = """
    import json
    import traceback
    from importlib import import_module

    from django.core.management.base import BaseCommand


    def tried(function):
        try:
            return function()
        except Exception:
            return traceback.format_exc()


    class Command(BaseCommand):
        def add_arguments(self, parser):
            parser.add_argument("module")
            parser.add_argument("functions", nargs="+")

        def handle(self, module, functions, **options):
            answers = {name: tried(getattr(import_module(module), name)) for name in functions}
            self.stdout.write("ANSWER " + json.dumps(answers, default=str))
"""


def environment() -> dict[str, str]:
    """As a person's: nothing of the test session's own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIS_", "DJANGO_", "PYTEST_"))}


def database() -> str:
    """The project's database, as it stands in its settings."""
    if os.environ.get("AIS_TEST_DB") != "postgres":
        return '{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3", "OPTIONS": {"timeout": 20}}'
    port = os.environ["AIS_TEST_PG_PORT"]
    create_database(port)
    return repr(
        {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": DATABASE,
            "HOST": "127.0.0.1",
            "PORT": port,
            "USER": "postgres",
        }
    )


def create_database(port: str) -> None:
    """An empty database on the private server."""
    import psycopg

    address = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
