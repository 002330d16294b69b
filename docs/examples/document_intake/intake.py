"""Hand documents in and start the workflow on them: what a form of the application would do."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction

from django_ais import jobs
from django_ais.models import JobPacket
from document_intake.models import Document

WORKFLOW = "document_intake"


def start(texts: Iterable[tuple[str, str]], *, user: User) -> JobPacket:
    """Store documents, a name and a text each, and start a run that takes them, in one transaction."""
    with transaction.atomic():
        documents = [Document.objects.create(name=name, text=text) for name, text in texts]
        return jobs.start(WORKFLOW, {"documents": [document.id for document in documents]}, user=user)


def documents_of(run: JobPacket) -> list[Document]:
    """What a run was started on, in the order that its jobs take."""
    return list(Document.objects.filter(id__in=run.payload["documents"]).order_by("id"))
