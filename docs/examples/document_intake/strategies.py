"""What to ask a gateway. Strategies see values alone, so they suit a real model as they are: only settings change."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from django_ais.strategies import BaseStrategy, JobContext
from document_intake.kinds import Kind

QUESTION = "Question: "


class SummaryStrategy(BaseStrategy):
    """Asks for the sentences of a page that say most."""

    def compose_context(self, job: JobContext) -> Mapping[str, Any]:
        """The page, under a line that says where it stands."""
        return {
            "system": "Choose the two sentences that say most about this page. Copy them letter for letter, in their "
            "order, with an empty line between them, and write nothing else.",
            "prompt": f"Page {job.payload['place']} of {job.payload['of']}, from {job.inputs['name']}:\n\n"
            f"{job.inputs['text']}",
        }


class ReplyStrategy(BaseStrategy):
    """Asks for an answer from the pages that were found."""

    def compose_context(self, job: JobContext) -> Mapping[str, Any]:
        """The question, under it the pages."""
        return {
            "system": "Answer the question from these pages alone. Copy sentences that answer it letter for letter.",
            "prompt": f"{QUESTION}{' '.join(job.payload['question'].split())}\n\n{job.inputs['text']}",
        }


class Day(BaseModel):
    """A date as written, and as YYYY-MM-DD."""

    text: str
    iso: str


class Amount(BaseModel):
    """An amount as written, in minor units of its currency, and the currency."""

    text: str
    minor: int
    currency: str


class Extracted(BaseModel):
    """The fields of a document. ``score`` says how sure ``kind`` is."""

    title: str
    kind: Kind
    score: float = Field(ge=0, le=1)
    dates: list[Day]
    amounts: list[Amount]
    people: list[str]
    organisations: list[str]
    references: list[str]


class ExtractStrategy(BaseStrategy):
    """Asks for the fields of a document."""

    def compose_context(self, job: JobContext) -> Mapping[str, Any]:
        """The document, under a line with its name."""
        return {
            "system": "Extract the fields of this document. Copy every value letter for letter; guess nothing.",
            "prompt": f"Document {job.inputs['name']}:\n\n{job.inputs['text']}",
        }

    def get_output_schema(self) -> type:
        """What the answer must fit."""
        return Extracted
