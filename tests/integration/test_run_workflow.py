"""``manage.py run_workflow``: what it starts, what it shows, and the exit codes that scripts rely on."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from django_ais import jobs
from django_ais.management import live
from django_ais.models import JobPacket
from django_ais.runtime import streams
from tests.app.behaviour_workers import imported, settings_of, worker_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def threads(settings: Any) -> None:
    """Jobs run in threads of this process."""
    settings.DJANGO_AIS = settings_of("memory")


def workflow(run: Any, inputs: str = "") -> None:
    """Import the workflow ``shown``, whose one job runs this."""
    imported(f"name: shown\n{inputs}\njobs:\n  - id: only\n    type: {worker_of(run)}\n")


def run_workflow(*arguments: str) -> tuple[str, str]:
    """Standard output and standard error of the command."""
    out, errors = io.StringIO(), io.StringIO()
    call_command("run_workflow", *arguments, stdout=out, stderr=errors)
    return out.getvalue(), errors.getvalue()


def code_of(*arguments: str) -> tuple[int, str]:
    """Exit code and message of a command that does not end well."""
    with pytest.raises(CommandError) as raised:
        run_workflow(*arguments)
    return raised.value.returncode, str(raised.value)


def only_run() -> JobPacket:
    return JobPacket.objects.roots().get()


def test_following_shows_every_event_once_and_in_order() -> None:
    """One line for each event of the run; a run that succeeds is no error."""
    workflow(lambda job: job.log("half way") or 7)
    out, _ = run_workflow("shown", "--follow")
    run = only_run()
    types = list(run.run_events.order_by("seq").values_list("type", flat=True))
    assert [re.findall(r"\b(?:job|run|log)\.\w+", line)[0] for line in out.splitlines()] == types
    assert types[-1] == "run.succeeded"


def test_a_failed_run_is_exit_code_1_and_says_why() -> None:
    """The reason is the job's."""

    def run(job: Any) -> None:
        raise ValueError("no paper")

    workflow(run)
    code, message = code_of("shown", "--follow")
    assert code == 1
    assert f"Run {only_run().id} failed" in message
    assert "no paper" in message


def test_a_cancelled_run_is_exit_code_4() -> None:
    """Whoever cancelled it."""

    def run(job: Any) -> None:
        jobs.cancel(job.root_id, reason="not today")

    workflow(run)
    code, message = code_of("shown", "--follow")
    assert code == 4
    assert "not today" in message


def test_without_follow_the_runs_id_is_printed(settings: Any) -> None:
    """Alone on standard output, so that a script can take it."""
    settings.DJANGO_AIS = settings_of("database", bus="database")
    workflow(lambda job: 1)
    out, errors = run_workflow("shown")
    assert out == f"{only_run().id}\n"
    assert errors == ""


def test_without_follow_a_queue_of_this_process_is_warned_of() -> None:
    """The process ends, and the run with it."""
    gate = threading.Event()
    workflow(lambda job: gate.wait(20))
    _, errors = run_workflow("shown")
    gate.set()
    assert "--follow" in errors
    jobs.wait(only_run(), timeout=20)


def test_inputs_are_json_or_text_as_the_workflow_wants_them(tmp_path: Path) -> None:
    """A number for a number, the same letters as text for text, and a file below both."""
    schema = "inputs: {type: object, properties: {count: {type: integer}, code: {type: string}}}"
    workflow(lambda job: job.payload, schema)
    file = tmp_path / "inputs.json"
    file.write_text(json.dumps({"count": 1, "more": ["x"]}), encoding="utf-8")
    run_workflow(
        "shown", "--input-file", str(file), "--input", "count=7", "--input", "code=12", "--input", "a=b=c", "--follow"
    )
    assert only_run().payload == {"count": 7, "code": "12", "a": "b=c", "more": ["x"]}


def test_a_version_and_a_tenant_can_be_named() -> None:
    """``--version`` is the workflow's, not Django's."""
    for version in ("1.9", "1.10"):
        imported(f"name: shown\nversion: '{version}'\njobs:\n  - type: give\n", tenant="acme")
    run_workflow("shown", "--version", "1.9", "--tenant", "acme", "--follow")
    run = only_run()
    assert (run.tenant, run.workflow and run.workflow.version) == ("acme", "1.9")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shwn"], "Did you mean 'shown'?"),
        (["shown", "--version", "9"], "shown@9"),
        (["shown", "--input", "count"], "KEY=VALUE"),
        (["shown", "--input", "count=x"], "count"),
        (["shown", "--input", "count=1", "--input", "count=2"], "twice"),
        (["shown", "--input-file", "/no/such.json"], "/no/such.json"),
        (["shown", "--input-file", __file__], "JSON"),
    ],
)
def test_what_cannot_be_started_is_exit_code_2(arguments: list[str], words: str) -> None:
    """Nothing is written, and the message names the fault."""
    workflow(lambda job: 1, "inputs: {type: object, properties: {count: {type: integer}}}")
    code, message = code_of(*arguments)
    assert code == 2
    assert words in message
    assert not JobPacket.objects.exists()


def test_leaving_early_leaves_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the watching, not the run."""
    gate = threading.Event()
    workflow(lambda job: gate.wait(20) and 1)

    def interrupted(run: Any, **_: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "followed", interrupted)
    code, message = code_of("shown", "--follow")
    gate.set()
    assert code == 130
    assert str(only_run().id) in message
    assert jobs.wait(only_run(), timeout=20).status == "succeeded"


def test_a_run_that_nobody_takes_is_explained(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while without a worker process there is a word about it, once."""
    settings.DJANGO_AIS = settings_of("database", bus="database")
    workflow(lambda job: 1)
    run = jobs.start("shown")
    monkeypatch.setattr(live, "UNCLAIMED_SECONDS", 0.0)
    ticks = iter([None, None, None])
    monkeypatch.setattr(live, "followed", lambda run: ticks)
    out = io.StringIO()
    live.watch(run, out)
    assert out.getvalue() == f"{live.UNCLAIMED}\n"


def test_a_follower_that_leaves_closes_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator on the process's loop ends with the one that reads it."""
    closed = threading.Event()

    async def endless(run: UUID, *, after: int) -> AsyncGenerator[int, None]:
        try:
            while True:
                yield after
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    monkeypatch.setattr(streams, "follow", endless)
    envelopes: Any = live.followed(uuid4(), after=7)
    assert next(envelopes) == 7
    envelopes.close()
    assert closed.wait(10)


def test_following_after_a_number_begins_with_the_next() -> None:
    """What was seen already is not shown again."""
    workflow(lambda job: 1)
    run = jobs.start("shown")
    jobs.wait(run, timeout=20)
    seqs = [envelope.seq for envelope in live.followed(run.id, after=2) if envelope is not None]
    assert seqs == list(range(3, 3 + len(seqs)))
    assert seqs
