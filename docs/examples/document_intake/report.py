"""Print what was found in the documents: from the application's own rows, as any page of a site would."""

from django_ais.models import JobPacket
from document_intake.models import Document, Page

FIELDS = {
    "date": "dates",
    "amount": "amounts",
    "person": "people",
    "organisation": "organisations",
    "reference": "references",
}
MOST_VALUES = 6  # of a field
MOST_PAGES = 40  # printed; the rest is in the database


def documents() -> None:
    """Each document: what it is, the summaries of its pages, and its fields."""
    printed = 0
    for document in Document.objects.order_by("id"):
        print(f"\n{document.name}: {_one_line(document.title)} ({document.kind}, score {document.score:.2f})")
        for page in document.pages.order_by("number"):
            if printed < MOST_PAGES:
                _print_page(page)
            printed += 1
        for name, label in FIELDS.items():
            values = list(document.fields.filter(name=name).order_by("id").values_list("text", flat=True))
            if values:
                more = f" and {len(values) - MOST_VALUES} more" if len(values) > MOST_VALUES else ""
                print(f"  {label + ':':<15} {'; '.join(map(_one_line, values[:MOST_VALUES]))}{more}")
    if printed > MOST_PAGES:
        print(f"\n({printed - MOST_PAGES} more pages have their summaries in the database.)")


def _print_page(page: Page) -> None:
    label = f"page {page.number}"
    for summary in page.summaries.all():
        for sentence in summary.text.split("\n\n"):
            print(f"  {label:<8} {_one_line(sentence)}")
            label = ""


def _one_line(text: str) -> str:
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def totals() -> None:
    """One line about the run."""
    run = JobPacket.objects.roots().get()
    children = JobPacket.objects.in_run(run)
    retried = sum(children.values_list("retries", flat=True))
    tokens = sum(children.values_list("input_tokens", flat=True)) + sum(
        children.values_list("output_tokens", flat=True)
    )
    print(
        f"\n{Document.objects.count()} documents, {Page.objects.count()} pages, {children.count()} jobs, "
        f"{run.run_events.count()} events, {retried} retried, {tokens:,} tokens (estimated)"
    )
