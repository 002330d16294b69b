"""The demo's gateway: a function that answers as a model would, word by word, and needs no key.

It is deterministic and extractive: a summary is made of sentences of the page, the fields are slices of the document.
Put a function that asks a real model in its place (``DJANGO_AIS["GATEWAYS"]``); nothing else changes.
"""

import re
import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings

from django_ais.exceptions import GatewayError
from django_ais.gateways import GatewayContext, GatewayRequest
from document_intake import ledger
from document_intake.fields import extract_fields
from document_intake.questions import sentences_about
from document_intake.sentences import words
from document_intake.strategies import QUESTION
from document_intake.summarise import summarise

SENTENCES = 2
SENTENCES_OF_A_REPLY = 5
NOTHING_FOUND = "The documents say nothing about that."
REFUSED_PAGE = 5  # this page's first call meets a rate limit; the last page's where there are fewer
RETRY_AFTER_SECONDS = 1.5

_PAGE = re.compile(r"Page ([0-9]+) of ([0-9]+), from ")


def answer(request: GatewayRequest, context: GatewayContext) -> Iterator[str | dict[str, Any]]:
    """Answer a request: a dict where a schema is asked for, else a reply or a page's summary, piece by piece."""
    head, _, text = request.last_user_text.partition("\n\n")
    if request.output is not None:
        ledger.note("call", context.job_id)
        yield dict(extract_fields(text))
        return
    if context.attempt == 1 and _is_refused(head):
        ledger.note("refused", context.job_id)
        raise GatewayError(
            "429: too many requests", code="rate_limited", retry_after=RETRY_AFTER_SECONDS, billed="no", status=429
        )
    ledger.note("call", context.job_id)
    for piece in words("\n\n".join(_said(head, text))):
        time.sleep(settings.INTAKE_WORD_SECONDS)
        yield piece


def _said(head: str, text: str) -> list[str]:
    if head.startswith(QUESTION):
        question = head.removeprefix(QUESTION)
        return sentences_about(question, text, SENTENCES_OF_A_REPLY) or [NOTHING_FOUND]
    return summarise(text, SENTENCES)


def _is_refused(head: str) -> bool:
    page = _PAGE.match(head)
    return page is not None and int(page[1]) == min(REFUSED_PAGE, int(page[2]))
