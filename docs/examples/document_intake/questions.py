"""What texts say about a question: the pages and the sentences that share most words with it. No model, no chance."""

from collections.abc import Sequence

from document_intake.summarise import candidates, terms


def pages_about(question: str, pages: Sequence[str], most: int) -> list[int]:
    """The places of the pages that share words with a question, the best first, at most `most` of them."""
    asked = terms(question)
    shared = [len(asked & terms(page)) for page in pages]
    best = sorted(range(len(pages)), key=lambda place: (-shared[place], place))
    return [place for place in best[:most] if shared[place]]


def sentences_about(question: str, text: str, most: int) -> list[str]:
    """The sentences of a text that share most words with a question, then those nearest its start; as they stand.

    At most `most`, in the order of the text; none if no sentence shares a word.
    """
    asked = terms(question)
    found = candidates(text)
    if not any(asked & sentence.terms for sentence in found):
        return []
    best = sorted(found, key=lambda sentence: (-len(asked & sentence.terms), sentence.piece.start))[:most]
    return [sentence.piece.text for sentence in sorted(best, key=lambda sentence: sentence.piece.start)]
