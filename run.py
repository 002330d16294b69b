#!/usr/bin/env python3
"""Commands for a fresh machine; they need Python and nothing else.

    python3 run.py demo [PATH ...] [--crash]    run a workflow on real documents and show it
    python3 run.py demo [PATH ...] --serve      the same in a browser, on 127.0.0.1 (--port N)
    python3 run.py test [--full]                lint, types, then the tests on SQLite and on PostgreSQL
    python3 run.py test PATH | -- ARGUMENTS     pytest alone, with these arguments
    python3 run.py bench [NAME ...] [--quick]   how fast, beside a bare loop on PostgreSQL
    python3 run.py docs                         the pages, as HTML in build/docs

The first start of a command makes a virtual environment in .venvs/ and fills it from a file of hashes in requirements/.
Later starts go straight to work. pip is called with your environment, so PIP_INDEX_URL and its kin are honoured.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent
MIN_PYTHON = (3, 11)
MIN_SQLITE = (3, 37)

SCRIPTS = {
    "demo": ROOT / "docs/examples/document_intake/demo.py",
    "test": ROOT / "tests/run_all.py",
    "bench": ROOT / "tests/benchmarks/bench.py",
    "docs": ROOT / "docs/build.py",
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in SCRIPTS:
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    command = arguments[0]
    require_python()
    group = "test" if command == "bench" else command
    python = prepare(group)
    return run([python, SCRIPTS[command], *arguments[1:]], **bytecode(group))


def bytecode(group: str) -> dict[str, str]:
    """Keep compiled modules, beside the environment, so that no source folder gets any.

    Our commands start many processes. Without this (containers like to set PYTHONDONTWRITEBYTECODE) each compiled
    Django anew: 0.7 of the 1.1 s in which one started.
    """
    home = os.environ.get("PYTHONPYCACHEPREFIX") or str(ROOT / ".venvs" / group / "bytecode")
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": home}


def require_python() -> None:
    """Leave with one sentence where this Python cannot do it."""
    if sys.version_info < MIN_PYTHON:
        leave(f"Python {version(MIN_PYTHON)} or newer is needed; this is {version(sys.version_info[:3])}.")
    try:
        from sqlite3 import sqlite_version_info
    except ImportError:
        leave("This Python was built without SQLite; install one that has the sqlite3 module.")
    if sqlite_version_info < MIN_SQLITE:
        leave(f"SQLite {version(MIN_SQLITE)} or newer is needed; this Python has {version(sqlite_version_info)}.")
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        package = f"python{version(sys.version_info[:2])}-venv"
        leave(
            f"This Python cannot make virtual environments; install {package} (Debian, Ubuntu: apt install {package})."
        )


def prepare(group: str) -> Path:
    """Return the Python of the group's virtual environment, made anew unless it is the one these files describe."""
    home = ROOT / ".venvs" / group
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = home / "stamp"
    wanted = digest(group)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"Setting up .venvs/{group} (once; a minute at most on a usual line) ...")
    started = time.monotonic()
    if run([sys.executable, "-m", "venv", "--clear", home]):
        leave(f"The virtual environment {home} could not be made.")
    install(python, group)
    stamp.write_text(wanted)
    say(f"Set up in {time.monotonic() - started:.0f} s.")
    return python


def digest(group: str) -> str:
    """Name everything that the environment is made from."""
    parts = [f"{ROOT} {sys.version}".encode()]
    parts += [path.read_bytes() for path in (lock(group), lock("build"), ROOT / "pyproject.toml")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install(python: Path, group: str) -> None:
    """Install what the lock names, then this project, built by a locked backend that is thrown away."""
    backend = python.parent.parent / "build-backend"
    pip(python, "--require-hashes", "-r", lock(group))
    pip(python, "--require-hashes", "-r", lock("build"), "--target", backend)
    pip(python, "--no-deps", "--no-build-isolation", "-e", ROOT, PYTHONPATH=str(backend))
    shutil.rmtree(backend)


def pip(python: Path, *arguments: str | Path, **environment: str) -> None:
    command = [python, "-m", "pip", "install", "-qq", "--no-compile", "--disable-pip-version-check", *arguments]
    if run(command, **environment):
        leave(
            f"pip could not install (its reason is above). It looked at {index(python)}. "
            "Is that reachable, and complete? PIP_INDEX_URL names another index; "
            "PIP_NO_INDEX=1 with PIP_FIND_LINKS=FOLDER installs from a folder of wheels."
        )


def index(python: Path) -> str:
    """Name the place that pip took packages from, without a password that its address may hold."""
    if os.environ.get("PIP_NO_INDEX"):
        return f"PIP_FIND_LINKS={os.environ.get('PIP_FIND_LINKS', '')} alone, because PIP_NO_INDEX is set"
    asked = subprocess.run(
        [python, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    url = urlsplit(os.environ.get("PIP_INDEX_URL") or asked.stdout.strip())
    return f"the index at {url.hostname or url.path}" if url.geturl() else "its default index"


def lock(group: str) -> Path:
    return ROOT / "requirements" / f"{group}.txt"


def run(command: list[str | Path], **environment: str) -> int:
    """Run a child in the foreground and return its exit code, as a shell would count it."""
    with subprocess.Popen([str(part) for part in command], env={**os.environ, **environment}) as child:
        while True:
            try:
                code = child.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                continue  # the child was interrupted too, and may have to clean up


def version(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def leave(message: str) -> None:
    sys.exit(f"run.py: {message}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
