"""``manage.py import_workflow FILE...``: check workflow files and store each as an immutable version."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError

from django_ais.exceptions import AisError
from django_ais.management import workflow_files
from django_ais.management.workflow_files import UsageError, WorkflowFile, counted
from django_ais.runtime import catalog, database
from django_ais.workflows.diff import semantic_diff
from django_ais.workflows.spec import WorkflowSpec

ERRORS, USAGE = 1, 2  # exit codes
TENANT_LENGTH = 100


@dataclass
class Imported:
    """What became of one file; ``changes`` are against the version that was newest before."""

    file: str
    workflow: str
    outcome: str
    digest: str
    changes: list[str] | None = field(default=None)


class RolledBack(Exception):
    """Raised to end a transaction without its writes."""


class Command(BaseCommand):
    help = (
        "Check workflow files and store each as a new version, all or none. A file that says what is stored already is "
        "unchanged; a version that is stored with other content is an error. Exit codes: 0 done, 1 errors, 2 usage."
    )
    requires_system_checks = []  # a workflow can be imported before the queues are set up

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name the files, and how far to go with them."""
        parser.add_argument("files", nargs="+", metavar="FILE", help="a file, a folder of *.yaml, or - for stdin")
        how_far = parser.add_mutually_exclusive_group()
        how_far.add_argument("--check", action="store_true", help="only check the files; no database is needed")
        how_far.add_argument("--dry-run", action="store_true", help="do everything in a transaction, then roll it back")
        parser.add_argument("--diff", action="store_true", help="show what changes since the newest stored version")
        parser.add_argument("--tenant", default="", help="store for one tenant (default: for all)")
        parser.add_argument("--format", choices=["text", "json", "github"], default="text", help="of what is printed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check all files, then store all of them or none."""
        if options["check"] and options["diff"]:
            raise CommandError(
                "--diff needs the database, which --check does not use. Try --dry-run --diff.", returncode=USAGE
            )
        if len(options["tenant"]) > TENANT_LENGTH or "\0" in options["tenant"]:
            raise CommandError(f"--tenant must be at most {TENANT_LENGTH} characters without NUL.", returncode=USAGE)
        files = read(options["files"])
        errors = sum(len(file.loaded.errors) for file in files)
        sentences = unknown_queues(files)
        imported: list[Imported] = []
        if not errors and not sentences:
            imported, sentences = self._import(files, options)
        self._report(files, imported, sentences, options)
        if errors or sentences:
            nothing = "" if options["check"] else "; nothing was stored"
            total = counted(errors + len(sentences), "error")
            raise CommandError(f"{total} in {counted(len(files), 'file')}{nothing}.", returncode=ERRORS)

    def _import(self, files: Sequence[WorkflowFile], options: dict[str, Any]) -> tuple[list[Imported], list[str]]:
        if options["check"]:
            return [told(file.name, file.loaded.require(), "checked") for file in files], []
        return store(files, tenant=options["tenant"], keep=not options["dry_run"], diff=options["diff"])

    # -- telling -----------------------------------------------------------------------------------------------------

    def _report(
        self, files: Sequence[WorkflowFile], imported: Sequence[Imported], sentences: Sequence[str], options: Any
    ) -> None:
        problems = [problem for file in files for problem in file.loaded.problems]
        if options["format"] == "json":
            document = {
                "workflows": [vars(one) for one in imported],
                "problems": [problem.to_dict() for problem in problems],
                "errors": list(sentences),
            }
            self.stdout.write(workflow_files.as_json(document))
            return
        for line in workflow_files.problem_lines(problems, options["format"]):
            self._say_wrong(line, options)
        for sentence in sentences:
            is_github = options["format"] == "github"
            self._say_wrong(workflow_files.annotation(sentence) if is_github else f"error: {sentence}", options)
        for one in imported:
            self.stdout.write(f"{one.outcome} {one.workflow}")
            for change in one.changes or ():
                self.stdout.write(f"  {change}")

    def _say_wrong(self, line: str, options: dict[str, Any]) -> None:
        """GitHub reads its commands from standard output; people redirect that and still want to see errors."""
        if options["format"] == "github":
            self.stdout.write(line)
        else:
            self.stderr.write(line, style_func=str)


def read(paths: Sequence[str]) -> list[WorkflowFile]:
    """Read and check every file that is meant."""
    try:
        names = workflow_files.find_files(paths)
        workers = workflow_files.known_workers()
        return [workflow_files.read_file(name, workers) for name in names]
    except UsageError as error:
        raise CommandError(str(error), returncode=USAGE) from error


def unknown_queues(files: Sequence[WorkflowFile]) -> list[str]:
    """What the files say of queues that the settings do not have."""
    try:
        return [sentence for file in files for sentence in workflow_files.unknown_queues(file)]
    except AisError as error:
        raise CommandError(str(error)) from error


def store(files: Sequence[WorkflowFile], *, tenant: str, keep: bool, diff: bool) -> tuple[list[Imported], list[str]]:
    """Store all files in one transaction, or none of them; return what became of each and what stood in the way."""
    imported: list[Imported] = []
    sentences: list[str] = []

    def work() -> None:
        imported.clear()
        sentences.clear()
        for file in files:
            try:
                imported.append(store_one(file, tenant=tenant, keep=keep, diff=diff))
            except AisError as error:
                sentences.append(f"{file.name}: {error}")
        if sentences or not keep:
            raise RolledBack

    with suppress(RolledBack):
        once_more(lambda: database.transact(work))
    return ([], sentences) if sentences else (imported, [])


def store_one(file: WorkflowFile, *, tenant: str, keep: bool, diff: bool) -> Imported:
    """Store one file in the transaction that is open."""
    spec = file.loaded.require()
    stored = catalog.store(spec, source=file.source, tenant=tenant)
    outcome = stored.outcome if keep or stored.outcome == "unchanged" else "would create"
    one = told(file.name, spec, outcome)
    if diff:
        before = stored.previous
        one.changes = semantic_diff(WorkflowSpec.from_document(before.spec), spec) if before else ["first version"]
    return one


def told(file: str, spec: WorkflowSpec, outcome: str) -> Imported:
    """What to say of a file."""
    return Imported(file, f"{spec.name}@{spec.version}", outcome, spec.digest())


def once_more(work: Callable[[], object]) -> None:
    """Try again if another process has just stored the same version: then it is found."""
    try:
        work()
    except IntegrityError:
        work()
