"""``manage.py run_workflow NAME``: start an imported workflow, and show its run with ``--follow``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_ais import jobs, registry
from django_ais.exceptions import AisError
from django_ais.management import live
from django_ais.models import JobPacket
from django_ais.runtime import catalog
from django_ais.states import JobStatus

USAGE = 2  # exit codes: 0 succeeded, 1 failed, 4 cancelled, 2 nothing was started
FAILED = 1
CANCELLED = 4
INTERRUPTED = 130


class Command(BaseCommand):
    help = "Start an imported workflow. Exit code with --follow: 0 succeeded, 1 failed, 4 cancelled; 2 not started."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """As Django's, with ``--version`` for the workflow's."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        """The workflow, its inputs, and whether to stay."""
        parser.add_argument("name", metavar="NAME", help="the workflow's name, or NAME@VERSION")
        parser.add_argument(
            "--input",
            action="append",
            default=[],
            dest="inputs",
            metavar="KEY=VALUE",
            help="one input; JSON, or text where the workflow wants text or it is no JSON; may be repeated",
        )
        parser.add_argument("--input-file", metavar="FILE", help="a JSON object with inputs; - for standard input")
        parser.add_argument("--follow", action="store_true", help="show the run until it has ended")
        parser.add_argument("--tenant", default="", help="whose run it is")
        parser.add_argument("--version", help="a version other than the newest")

    def handle(self, **options: Any) -> None:
        """Start, then follow or print the run's id."""
        try:
            run = self._start(**options)
        except AisError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        if not options["follow"]:
            self.stdout.write(str(run.id))
            self._warn_of_an_early_end(run)
            return
        try:
            ended = live.watch(run, self.stdout)  # type: ignore[arg-type]  # Django's wrapper of a stream
        except KeyboardInterrupt:
            raise CommandError(
                f"Not followed any more. Run {run.id} goes on in its worker processes.", returncode=INTERRUPTED
            ) from None
        self._conclude(ended)

    def _start(self, *, name: str, tenant: str, version: str | None, **options: Any) -> JobPacket:
        workflow = catalog.find(name, tenant=tenant, version=version)
        schema = catalog.spec_of(workflow).inputs or {}
        given = {**_from_file(options["input_file"]), **_from_words(options["inputs"], schema.get("properties") or {})}
        return jobs.start(workflow.name, given, version=workflow.version, tenant=tenant)

    def _warn_of_an_early_end(self, run: JobPacket) -> None:
        if registry.queues[run.queue].is_embedded and not jobs.get(run).is_terminal:
            self.stderr.write(
                f"Queue '{run.queue}' runs jobs in this process, which ends now: the run waits for a process that "
                "works. Use --follow to stay, or a queue with worker processes of its own."
            )

    def _conclude(self, run: JobPacket) -> None:
        if run.status == JobStatus.SUCCEEDED:
            return
        reason = (run.error or {}).get("message") or "no reason given"
        code = CANCELLED if run.status == JobStatus.CANCELLED else FAILED
        raise CommandError(f"Run {run.id} {run.status}: {reason}", returncode=code)


def _from_file(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise CommandError(f"--input-file {name} cannot be read as JSON: {error}", returncode=USAGE) from error
    if not isinstance(document, dict):
        raise CommandError(f"--input-file {name} holds a {type(document).__name__}, not an object", returncode=USAGE)
    return document


def _from_words(words: list[str], properties: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key:
            raise CommandError(f"--input {word}: write it as KEY=VALUE", returncode=USAGE)
        if key in given:
            raise CommandError(f"--input {key} is given twice; a list is one value: {key}='[1, 2]'", returncode=USAGE)
        given[key] = _value(text, properties.get(key))
    return given


def _value(text: str, rule: Any) -> Any:
    """Text where text is wanted, else what the JSON says, or the text if it is none."""
    if isinstance(rule, dict) and rule.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
