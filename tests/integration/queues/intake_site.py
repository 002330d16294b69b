"""The document intake's dispatching side, in a process of its own: it has settings and a database of its own.

``python -m tests.integration.queues.intake_site VERB`` answers in JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import django

LONGEST = 60.0  # seconds; a loaded machine needs long to start a process
TEXTS = (
    "Invoice 2024-17\n\nHarbour Works Ltd bills Anna Berg 1,200.00 EUR on 3 May 2024. The hull was cleaned and painted."
    " The bill is due within thirty days.\fThe mast was replaced by a longer one. Nobody was hurt while it was raised.",
    "# Minutes\n\nThe committee met on 12 June 2024. Paul Okafor proposed a second water tap for the upper gardens. The"
    " committee agreed to ask for prices before the summer ends.",
)


def migrate() -> None:
    """Make the tables that are not there yet."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def prepare() -> None:
    """Make the tables, import the workflow, hand documents in."""
    from django.apps import apps
    from django.core.management import call_command
    from document_intake.models import Document

    migrate()
    workflow = Path(apps.get_app_config("document_intake").path, "intake.yaml")
    call_command("import_workflow", str(workflow), stdout=sys.stderr)
    for number, text in enumerate(TEXTS, start=1):
        Document.objects.create(name=f"{number}.txt", text=text)


def run() -> dict[str, Any]:
    """Run the workflow on all documents and wait for it: what came of it, which events it has, who did the work."""
    from document_intake import ledger
    from document_intake.models import Document

    from django_ais import jobs
    from django_ais.models import AgentEvent

    documents = list(Document.objects.order_by("id").values_list("id", flat=True))
    done = jobs.wait(jobs.start("document_intake", {"documents": documents}), timeout=LONGEST)
    entries = ledger.entries()
    told = sorted(f"{entry.kind} {entry.key if entry.kind == 'effect' else ''}" for entry in entries)
    return {
        "outcome": {"run": [done.status, done.result], "told": told, **rows()},
        "events": list(AgentEvent.objects.filter(root=done).order_by("seq").values_list("seq", flat=True)),
        "processes": sorted({entry.process for entry in entries}),
        "here": os.getpid(),
    }


def rows() -> dict[str, Any]:
    """What the workers have written in `on_done`, and the jobs; without what is another each time."""
    from document_intake.models import Document, Field, Page, Summary

    from django_ais.models import JobPacket

    found = {
        "documents": Document.objects.values_list("name", "kind", "title", "score"),
        "pages": Page.objects.values_list("document__name", "number", "text"),
        "summaries": Summary.objects.values_list("page__document__name", "page__number", "text"),
        "fields": Field.objects.values_list("document__name", "name", "text"),
        "jobs": JobPacket.objects.values_list("workflow_job", "item", "type", "status", "result"),
    }
    return {name: sorted(map(list, some), key=str) for name, some in found.items()}


VERBS: dict[str, Any] = {verb.__name__: verb for verb in (migrate, prepare, run)}

if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(VERBS[sys.argv[1]]()))
