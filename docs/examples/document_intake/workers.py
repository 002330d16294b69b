"""The jobs of `intake.yaml` and `chat.yaml`.

They read in ``prepare`` or ``run``, think through a strategy, and write rows in ``on_done``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from django_ais import registry
from django_ais.workers import ActiveJob, BaseWorker, ChildResult
from document_intake import ledger
from document_intake.models import Document, Field, Page, Summary
from document_intake.questions import pages_about
from document_intake.reading import split_pages
from document_intake.strategies import ExtractStrategy, ReplyStrategy, SummaryStrategy

PAGES = 3  # that a reply is made from


@registry.register("documents.split")
class SplitWorker(BaseWorker):
    """Cuts each document into its pages."""

    def run(self, job: ActiveJob) -> Any:
        """Where every page stands; the texts stay in the database."""
        documents = Document.objects.filter(id__in=job.payload["documents"]).order_by("id")
        pages = [
            {"document": document.id, "number": number}
            for document in documents
            for number, _ in enumerate(split_pages(document.text), start=1)
        ]
        job.log(f"{len(pages)} pages")
        return {"pages": [{**page, "place": place, "of": len(pages)} for place, page in enumerate(pages, start=1)]}

    def on_done(self, job: ActiveJob, result: Any, children: Sequence[ChildResult]) -> None:
        """Store the pages."""
        for document in Document.objects.filter(id__in=job.payload["documents"]):
            Page.objects.bulk_create(
                Page(document=document, number=number, text=text)
                for number, text in enumerate(split_pages(document.text), start=1)
            )


@registry.register("llm.summarise")
class SummariseWorker(BaseWorker):
    """Summarises one page. ``run`` is the default: strategy, gateway, validation."""

    strategy_class = SummaryStrategy

    def prepare(self, job: ActiveJob) -> Mapping[str, Any]:
        """The page's text, recorded: a later attempt sees the same."""
        page = Page.objects.select_related("document").get(
            document=job.payload["document"], number=job.payload["number"]
        )
        return {"name": page.document.name, "text": page.text}

    def on_done(self, job: ActiveJob, result: Any, children: Sequence[ChildResult]) -> None:
        """Store the summary, and note the effect in the ledger once it is committed."""
        page = Page.objects.get(document=job.payload["document"], number=job.payload["number"])
        Summary.objects.create(page=page, text=result)
        transaction.on_commit(lambda: ledger.note("effect", f"summary:{page.id}"))


@registry.register("llm.extract")
class ExtractWorker(BaseWorker):
    """Finds the fields of one document; the answer must fit the strategy's schema."""

    strategy_class = ExtractStrategy

    def prepare(self, job: ActiveJob) -> Mapping[str, Any]:
        """The document's name and text."""
        document = Document.objects.get(id=job.payload["document"])
        return {"name": document.name, "text": document.text}

    def on_done(self, job: ActiveJob, result: Any, children: Sequence[ChildResult]) -> None:
        """Store what was found."""
        Field.objects.bulk_create(_fields(job.payload["document"], result))
        transaction.on_commit(lambda: ledger.note("effect", f"fields:{job.payload['document']}"))


def _fields(document: int, found: Mapping[str, Any]) -> list[Field]:
    values = {
        "date": [day["text"] for day in found["dates"]],
        "amount": [amount["text"] for amount in found["amounts"]],
        "person": found["people"],
        "organisation": found["organisations"],
        "reference": found["references"],
    }
    return [Field(document_id=document, name=name, text=text) for name, texts in values.items() for text in texts]


@registry.register("documents.file")
class FileWorker(BaseWorker):
    """Files the documents under what they were found to be."""

    def run(self, job: ActiveJob) -> Any:
        """How many documents and summaries there are."""
        return {"documents": len(job.payload["found"]), "summaries": len(job.payload["summaries"])}

    def on_done(self, job: ActiveJob, result: Any, children: Sequence[ChildResult]) -> None:
        """Write each document's title, kind and score."""
        for document_id, found in zip(job.payload["documents"], job.payload["found"], strict=True):
            Document.objects.filter(id=document_id).update(
                title=found["title"], kind=found["kind"], score=found["score"]
            )
            transaction.on_commit(lambda document_id=document_id: ledger.note("effect", f"filed:{document_id}"))


@registry.register("documents.find")
class FindWorker(BaseWorker):
    """Finds the pages that a question is about."""

    def run(self, job: ActiveJob) -> Any:
        """Where those pages stand, the best first."""
        newest = {document.name: document for document in Document.objects.order_by("id")}
        places = [
            (document.id, number, text)
            for document in newest.values()
            for number, text in enumerate(split_pages(document.text), start=1)
        ]
        found = pages_about(job.payload["question"], [text for *_, text in places], PAGES)
        job.log(f"{len(found)} of {len(places)} pages")
        return {"pages": [{"document": places[place][0], "number": places[place][1]} for place in found]}


@registry.register("llm.reply")
class ReplyWorker(BaseWorker):
    """Answers a question from the pages that were found."""

    strategy_class = ReplyStrategy

    def prepare(self, job: ActiveJob) -> Mapping[str, Any]:
        """The pages' texts."""
        texts = Document.objects.in_bulk([page["document"] for page in job.payload["pages"]])
        pages = [split_pages(texts[page["document"]].text)[page["number"] - 1] for page in job.payload["pages"]]
        return {"text": "\n\n".join(pages)}
