"""Tell what kind of document a text is, by the phrases that give it away, and how sure that is."""

import re
from collections import Counter
from typing import Literal

Kind = Literal["invoice", "contract", "report", "letter", "minutes", "other"]

MOST_COUNTED = 3  # a phrase says no more the tenth time than the third
ENOUGH_POINTS = 8  # below this a text is of no kind we know
TITLE_POINTS = 6

_CUES: dict[Kind, dict[str, int]] = {
    "invoice": {
        "invoice": 3, "subtotal": 3, "total due": 3, "amount due": 3, "bill to": 3, "due date": 2, "invoice date": 3,
        "line items": 3, "vat": 1, "purchase order": 1, "bank transfer": 1, "sort code": 2, "payable within": 2,
    },
    "contract": {
        "hereinafter": 3, "the parties": 2, "neither party": 3, "either party": 3, "each party": 2, "shall": 1,
        "undertakes to": 2, "terminate": 1, "termination": 2, "governing law": 3, "force majeure": 3, "breach": 1,
        "this agreement": 3, "this contract": 3, "lease": 1, "is liable": 1, "arbitrator": 1, "landlord": 1,
        "tenant": 1,
    },
    "report": {
        "this report": 3, "report": 1, "summary": 2, "findings": 2, "we found": 2, "we recommend": 2, "i recommend": 2,
        "we conclude": 2, "overview": 1, "recommendations": 2, "causes": 2, "conclusion": 2, "results": 1,
        "corrective actions": 3, "we examined": 2, "next steps": 1, "incident": 1, "audit": 1, "study": 1,
        "timeline": 2, "report number": 3, "what we found": 3, "travel report": 3,
    },
    "letter": {
        "dear": 3, "yours sincerely": 4, "yours faithfully": 4, "yours truly": 4, "kind regards": 3, "best regards": 3,
        "i am writing": 4, "i write to": 4, "enclosed": 1, "i enclose": 2, "enclose": 1, "please": 1, "attention": 1,
        "your letter": 2, "i ask": 2, "i claim": 2,
    },
    "minutes": {
        "minutes of the": 4, "minutes taken by": 4, "apologies": 3, "matters arising": 4, "any other business": 4,
        "next meeting": 3, "the meeting closed": 4, "it was agreed": 3, "it was resolved": 3, "action": 1, "agenda": 2,
        "present": 1, "chair": 1, "committee": 1, "proposed": 1,
    },
}  # fmt: skip
_TITLES: dict[Kind, re.Pattern[str]] = {
    "invoice": re.compile(r"\b(?:invoice|bill)\b", re.IGNORECASE),
    "contract": re.compile(r"\b(?:contract|agreement|lease)\b", re.IGNORECASE),
    "report": re.compile(r"\b(?:report|study|audit|analysis|findings)\b", re.IGNORECASE),
    "letter": re.compile(r"\b(?:letter|complaint|claim|application)\b", re.IGNORECASE),
    "minutes": re.compile(r"\b(?:minutes of|meeting)\b", re.IGNORECASE),
}
_POINTS = {cue: (kind, points) for kind, cues in _CUES.items() for cue, points in cues.items()}
_CUE = re.compile(rf"\b(?:{'|'.join(sorted(_POINTS, key=len, reverse=True))})\b")


def kind_of(text: str, title: str) -> tuple[Kind, float]:
    """Return the kind of a text and a score between 0 and 1: how strong its phrases are, and how little they disagree.

    A text without enough telling phrases is "other", with a score below 0.5, so that a threshold there sends it to a
    person.
    """
    points = _points(text, title)
    (kind, best), (_, second) = points.most_common(2)
    if best == 0:
        return "other", 0.0
    score = round(best / (best + ENOUGH_POINTS) * best / (best + second), 3)
    return (kind, score) if best >= ENOUGH_POINTS else ("other", score)


def _points(text: str, title: str) -> Counter[Kind]:
    points: Counter[Kind] = Counter(dict.fromkeys(_CUES, 0))
    for cue, count in Counter(_CUE.findall(text.lower())).items():
        kind, value = _POINTS[cue]
        points[kind] += value * min(count, MOST_COUNTED)
    for kind, pattern in _TITLES.items():
        points[kind] += TITLE_POINTS if pattern.search(title) else 0
    return points
