"""The document intake runs on every queue driver, with one line of its settings changed, and comes to the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from django_ais.conformance.servers import NatsServer, RedisServer
from tests.harness.private import private
from tests.integration.queues.processes import ROOT, ais_worker, running

EXAMPLES = ROOT / "docs" / "examples"
SETTINGS = "tests.integration.queues.intake_settings"
SERVERS: dict[str, tuple[type[NatsServer] | type[RedisServer], str]] = {  # what each needs, the option that names it
    "celery": (RedisServer, "broker_url"),
    "dramatiq": (RedisServer, "url"),
    "rq": (RedisServer, "url"),
    "nats": (NatsServer, "url"),
}
IN_EVERY_RUN = ("database", "celery")
WORKER = ais_worker("--concurrency", "3")
DB_WORKER = [sys.executable, "-m", "django", "db_worker", "--interval", "0.1", "--no-startup-delay"]
COMMANDS = {"django_tasks": DB_WORKER}  # the driver starts none

pytestmark = pytest.mark.skipif(
    os.environ.get("AIS_TEST_DB") == "postgres", reason="the document intake has an SQLite file of its own"
)


def environment(folder: Path, queue: Any) -> dict[str, str]:
    """The same for every driver, but for the queue; jobs may run in other processes."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("AIS_")}
    return {
        **given,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(ROOT)]),
        "INTAKE_FOLDER": str(folder),
        "INTAKE_WORKER_PROCESSES": "1",
        "INTAKE_WORD_SECONDS": "0.001",
        "INTAKE_TEST_QUEUE": json.dumps(queue),
    }


def site(verb: str, folder: Path, queue: Any) -> Any:
    """What the site's own process answers."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.queues.intake_site", verb],
        env=environment(folder, queue), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{verb} failed:\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the intake with documents that nobody has worked on, to be copied."""
    folder = tmp_path_factory.mktemp("intake") / "prepared"
    site("prepare", folder, "memory")
    return folder


@pytest.fixture(scope="module")
def by_memory(prepared: Path) -> Any:
    """What comes of them in threads of the one process that the demo has."""
    folder = prepared.with_name("memory")
    shutil.copytree(prepared, folder)
    return site("run", folder, "memory")


def test_threads_of_one_process_do_the_work(by_memory: Any) -> None:
    """Given the queue ``memory``, when the workflow runs, then it succeeds in the process that dispatched it, with one
    summary a page and a refused call that came again: something that the other drivers can be measured by.
    """
    outcome = by_memory["outcome"]

    assert outcome["run"] == ["succeeded", {"documents": 2, "summaries": 3}]
    assert [place for *place, _ in outcome["summaries"]] == [place for *place, _ in outcome["pages"]]
    assert len(outcome["fields"]) > 3
    assert outcome["told"].count("refused ") == 1
    assert by_memory["processes"] == [by_memory["here"]]


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(engine, marks=[] if engine in IN_EVERY_RUN else [pytest.mark.full])
        for engine in ("database", *SERVERS, "django_tasks")
    ],
)
def test_each_driver_comes_to_the_same(prepared: Path, by_memory: Any, tmp_path: Path, engine: str) -> None:
    """Given the same documents and another queue in the settings, when worker processes of that queue run the workflow,
    then its result, its jobs and all rows of the application are what they are with ``memory``.
    """
    folder = Path(shutil.copytree(prepared, tmp_path / "intake"))
    begun = time.monotonic()
    with queue_of(engine) as queue:
        if engine == "django_tasks":
            site("migrate", folder, queue)  # an application of its own
        with running(COMMANDS.get(engine, WORKER), tmp_path, {}, **environment(folder, queue)) as process:
            done = site("run", folder, queue)
            process.send(signal.SIGTERM)
            code = process.end()
    print(f"{engine}: {time.monotonic() - begun:.1f} s")

    assert done["outcome"] == by_memory["outcome"]
    assert done["events"] == list(range(1, len(done["events"]) + 1))
    assert done["here"] not in done["processes"]
    assert code == 0, process.said


@contextmanager
def queue_of(engine: str) -> Iterator[Any]:
    """The line of the settings, with the server that it names; without that server not run, except in CI."""
    if engine == "django_tasks":
        pytest.importorskip("django_tasks_db.compat")
    if engine not in SERVERS:
        yield engine
        return
    kind, option = SERVERS[engine]
    with private(kind) as server:
        yield {"BACKEND": engine, "OPTIONS": {option: server.url}}
