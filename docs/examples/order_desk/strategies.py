"""What to ask a gateway."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from django_ais.strategies import BaseStrategy, JobContext


class Sorted(BaseModel):
    """What a question is about."""

    topic: Literal["delivery", "refund", "thanks"]


class SortStrategy(BaseStrategy):
    """Asks what a question is about."""

    def compose_context(self, job: JobContext) -> Mapping[str, Any]:
        """The question alone."""
        return {"prompt": f"Sort this question: {job.inputs['question']}"}

    def get_output_schema(self) -> type:
        """One topic of three."""
        return Sorted


class ReplyStrategy(BaseStrategy):
    """Asks for an answer to the customer."""

    def compose_context(self, job: JobContext) -> Mapping[str, Any]:
        """The question, and what it is about."""
        return {
            "system": "Answer the customer in two sentences.",
            "prompt": f"Order {job.inputs['number']}, about its {job.payload['topic']}: {job.inputs['question']}",
        }
