"""Choose the sentences of a text that say most about it: extraction by word frequency, no model and no chance.

The rule is SumBasic (Nenkova and Vanderwende, "The impact of frequency on summarization", 2005) with a length
correction. The list of stop words is English; other languages work less well, but work.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from document_intake.sentences import Piece, pieces

SHORTEST_WORDS = 5  # shorter sentences are chosen only where there are no others
DAMPING = 6  # words added to a length before dividing, so that short sentences do not win by being short
LONGEST_WORDS = 45  # beyond this a sentence loses in proportion

_TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[0-9]+(?:[.,:][0-9]+)*")
_STOP_WORDS = frozenset(
    """
    a about above after again against all almost also although always am an and another any anybody are as ask asked at
    be because become been before being below beside besides best better between both but by came can cannot come comes
    could did do does doing done down due during each either else enough ever every everybody everything few first for
    four from further gave get give given go goes good got had has have having he hence her here hereinafter hers
    herself him himself his how however i if in indeed instead into is it its itself just keep kept know known last
    least less let like long longer made make makes many may me means might mine more most mr mrs ms much must my myself
    near neither never next no nobody none nor not nothing now of off often old on once one ones only onto or other
    others otherwise our ours ourselves out over own per perhaps please put rather said same say says second see seen
    several shall she should since six so some somebody something soon still such take taken tell ten than that the
    their theirs them themselves then there therefore these they thing third this those though three through thus till
    to today together told too took toward towards twice two under unless until up upon us used using very via want
    wanted was way we well went were what when where whereas whether which while who whole whom whose why will with
    within without would yes yet you your yours yourself
    """.split()
)


class Candidate(NamedTuple):
    """A sentence that may be chosen: the words of it that carry meaning, and its length in words."""

    piece: Piece
    terms: frozenset[str]
    length: int


def summarise(text: str, sentences: int = 2) -> list[str]:
    """Return the most telling sentences of a text, at most `sentences` of them, in the order of the text.

    Guarantees: each is a slice of the text, character for character; none comes twice; a text with any visible
    character gives at least one (where it has no sentence: a line of it). The choice depends on what the sentences
    say and not on where they stand, so shuffling them does not change which are chosen. The same text always gives
    the same answer. Raises ValueError for `sentences` below 1.
    """
    if sentences < 1:
        raise ValueError(f"a summary needs at least 1 sentence, not {sentences}")
    chosen = _choose(candidates(text), sentences)
    return [candidate.piece.text for candidate in sorted(chosen, key=lambda candidate: candidate.piece.start)]


def candidates(text: str) -> list[Candidate]:
    """The distinct sentences worth choosing; where there is no real one, the next best kind of line."""
    distinct = {piece.text: piece for piece in reversed(pieces(text))}
    every = [Candidate(piece, terms(piece.text), len(piece.text.split())) for piece in distinct.values()]
    sentences = [candidate for candidate in every if candidate.piece.prose]
    telling = [candidate for candidate in sentences if candidate.length >= SHORTEST_WORDS and candidate.terms]
    return telling or sentences or every


def terms(sentence: str) -> frozenset[str]:
    """The distinct words of a sentence that carry meaning, plurals folded into singulars."""
    words = (match.group().lower() for match in _TOKEN.finditer(sentence))
    return frozenset(_singular(word) for word in words if word not in _STOP_WORDS)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _choose(candidates: list[Candidate], count: int) -> list[Candidate]:
    """Take the best candidate, weaken the words it has said, and so on."""
    if len(candidates) <= count:
        return candidates
    weights = _weights(candidates)
    left = list(candidates)
    chosen: list[Candidate] = []
    while len(chosen) < count:
        best = max(left, key=lambda candidate: _rank(candidate, weights))
        left.remove(best)
        chosen.append(best)
        weights.update({term: weights[term] ** 2 for term in best.terms})
    return chosen


def _weights(candidates: list[Candidate]) -> dict[str, float]:
    """Each word's share of the sentences it stands in, between 0 and 1."""
    counts = Counter(term for candidate in candidates for term in candidate.terms)
    return {term: count / len(candidates) for term, count in counts.items()}


def _rank(candidate: Candidate, weights: Mapping[str, float]) -> tuple[float, int, str]:
    """What the sentence says per word of it; between equals the richer one, then an order that no position enters."""
    said = sum(sorted(weights[term] for term in candidate.terms))
    score = said / (len(candidate.terms) + DAMPING)
    return score * min(1.0, LONGEST_WORDS / max(1, candidate.length)), len(candidate.terms), candidate.piece.text
