#!/usr/bin/env python3
"""Run the document intake on real files, in a fresh folder, and show it. ``python3 run.py demo`` calls this.

    demo.py [PATH ...] [--crash | --serve [--port N]] [--keep FOLDER]

Exit code: the run's (0 succeeded, 1 failed, 4 cancelled); 2 for files that cannot be taken or a port that is in use;
1 with ``--crash`` if a promise was broken; 0 with ``--serve``, which Ctrl-C ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)  # the folder that holds the package, not the package

from document_intake.handed_in import HandedIn, Refused, read_all  # noqa: E402
from document_intake.ports import free_port  # noqa: E402

if TYPE_CHECKING:
    from document_intake.crash import Count

SHIPPED = ("invoice-harbour-refit.txt", "incident-report-cold-store.md", "minutes-allotment-committee.txt")
SHOW_SECONDS = 7.0  # aimed at for the streaming part
WORDS_A_SUMMARY = 45
AT_ONCE = 4  # `limit` of the workflow
SLOWEST, FASTEST = 0.08, 0.005  # seconds between two words
SHOW_SECONDS_OF_A_PAGE = 20.0  # a browser is opened meanwhile
SHOW_SECONDS_OF_A_CRASH = 5.0  # the dead worker process's lease is waited for besides
INTERRUPTED = 130
PORT = 8000

NEXT = """
What ran: docs/examples/document_intake/ (intake.yaml, workers.py, strategies.py). Nothing of it names a driver; its
settings.py does:
    DJANGO_AIS = {
        "QUEUES": {"default": "memory"},       # threads of this process. "database": manage.py ais_worker, any number
        "BUSES": {"default": "memory"},        # "database" when jobs run in other processes
        "GATEWAYS": {"default": {"BACKEND": "function", "OPTIONS": {"function": "document_intake.gateway.answer"}}},
    }
A real model: name a function of yours that takes the request and yields the model's text; prompts, schemas, retries
and streaming stay as they are. The same workflow on Celery: two lines of settings, one command a worker process:
        "QUEUES": {"default": {"BACKEND": "celery", "OPTIONS": {"broker_url": "redis://localhost:6379/0"}}},
        "BUSES": {"default": "database"},
    python manage.py ais_worker --concurrency 4
Dramatiq, RQ, NATS and Django's own tasks the same way: docs/drivers/."""


def main(arguments: list[str]) -> int:
    """Read, set up, show, report."""
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may not know every letter
    try:
        documents = read_all(options.paths or [HERE / "documents" / name for name in SHIPPED])
        port = free_port(options.port) if options.serve else 0
        with work_folder(options.keep) as folder:
            set_up(folder, documents, in_worker_processes=options.crash or options.serve, seconds=seconds_of(options))
            return serve(folder, documents, port) if options.serve else show(folder, documents, crash=options.crash)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on: `demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    """What the command line may hold."""
    made = argparse.ArgumentParser(prog="run.py demo", description="Run a workflow on documents and show it.")
    made.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="text or Markdown files (default: three ours)"
    )
    ways = made.add_mutually_exclusive_group()
    ways.add_argument("--crash", action="store_true", help="kill a worker process in the middle, and count what it did")
    ways.add_argument("--serve", action="store_true", help="serve a page that follows the run; Ctrl-C ends it")
    made.add_argument("--port", type=port, default=PORT, metavar="N", help=f"for --serve ({PORT}); 0: any that is free")
    made.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for the database, which then stays")
    return made


def port(text: str) -> int:
    """An argument that is a port."""
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def seconds_of(options: argparse.Namespace) -> float:
    """How long the streaming part should take."""
    if options.serve:
        return SHOW_SECONDS_OF_A_PAGE
    return SHOW_SECONDS_OF_A_CRASH if options.crash else SHOW_SECONDS


@contextmanager
def work_folder(keep: Path | None) -> Iterator[Path]:
    """A fresh folder, gone afterwards unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="document-intake-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise Refused(f"{keep} is not empty; --keep wants a new folder.")
    except OSError as error:
        raise Refused(f"{keep} cannot be used as a folder: {error.strerror}.") from error
    yield keep.resolve()


def set_up(folder: Path, documents: list[HandedIn], *, in_worker_processes: bool, seconds: float) -> None:
    """Django, its tables and the workflow."""
    pages = sum(document.pages for document in documents)
    pace = seconds * AT_ONCE / (pages * WORDS_A_SUMMARY)
    os.environ["INTAKE_FOLDER"] = str(folder)
    os.environ["INTAKE_WORKER_PROCESSES"] = str(int(in_worker_processes))
    os.environ.setdefault("INTAKE_WORD_SECONDS", str(min(max(pace, FASTEST), SLOWEST)))
    os.environ["DJANGO_SETTINGS_MODULE"] = "document_intake.settings"
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    for workflow in ("intake.yaml", "chat.yaml"):
        call_command("import_workflow", str(HERE / workflow))


def serve(folder: Path, documents: list[HandedIn], port: int) -> int:
    """Show it in a browser."""
    from document_intake.serve import serve as serve_until_stopped

    return serve_until_stopped(folder, documents, port)


def show(folder: Path, documents: list[HandedIn], *, crash: bool) -> int:
    """Hand the documents in, run the workflow before everybody's eyes, and print what it found."""
    from document_intake import crash as crashes
    from document_intake import report
    from document_intake.models import Document

    rows = [Document.objects.create(name=document.name, text=document.text) for document in documents]
    with crashes.killing_one(folder) if crash else nullcontext() as processes:
        code = run_workflow([row.id for row in rows])
        killed = processes.killed if processes else 0
    if code:
        if code != INTERRUPTED:
            print(crashes.tails(folder), file=sys.stderr)
        return code
    report.documents()
    report.totals()
    print(NEXT)
    return conclude(crashes.Count.of(killed)) if crash else 0


def conclude(count: Count) -> int:
    """Tell what the crash did; the exit code says whether every promise was kept."""
    if not count.killed:
        print("\n>>> No worker process was killed: the texts are too short to catch one in the middle of a call.")
    print(f"\n{count}")
    return 0 if count.is_kept else 1


def run_workflow(documents: list[int]) -> int:
    """``manage.py run_workflow --follow``; its exit code. Whoever leaves early leaves nothing running."""
    from django.core.management import CommandError, call_command

    from django_ais import jobs
    from django_ais.models import JobPacket

    try:
        call_command("run_workflow", "document_intake", f"--input=documents={json.dumps(documents)}", "--follow")
    except CommandError as error:
        print("Interrupted." if error.returncode == INTERRUPTED else error, file=sys.stderr)
        return error.returncode
    finally:
        for run in JobPacket.objects.roots().open():
            jobs.cancel(run)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
