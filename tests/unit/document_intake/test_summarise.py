"""A summary is made of the text's own most telling sentences."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from document_intake.reading import split_pages
from document_intake.sentences import split_sentences
from document_intake.summarise import summarise
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text(), st.integers(1, 5))
def test_a_summary_is_verbatim(text: str, sentences: int) -> None:
    """Whatever the text: slices of it, in its order, none twice, no more than asked for."""
    summary = summarise(text, sentences)
    assert len(summary) <= sentences
    assert len(set(summary)) == len(summary)
    assert all(sentence in text for sentence in summary)
    found = split_sentences(text)
    assert [found.index(sentence) for sentence in summary] == sorted(found.index(sentence) for sentence in summary)


@pytest.mark.parametrize("seed", range(100))
def test_random_sentences_are_quoted_and_not_just_the_first(
    seed: int, random_sentences: Callable[..., list[str]]
) -> None:
    """Given sentences nobody wrote, when summarised, then two come back whole, and not the first two."""
    sentences = random_sentences(seed)
    summary = summarise(" ".join(sentences))
    assert len(summary) == 2
    assert set(summary) <= set(sentences)
    assert summary != sentences[:2]


def test_equally_telling_sentences_are_not_taken_from_the_top() -> None:
    """Given words that never repeat, so that nothing tells sentences apart, then being first is no reason."""
    sentences = [f"Word {letter * 5} stands beside {letter * 6} here." for letter in "abcdefghijklmnopqrst"]
    assert summarise("\n".join(sentences)) != sentences[:2]


@settings(deadline=None)  # a busy machine is not a failure
@given(st.randoms(use_true_random=False), st.integers(0, 1_000))
def test_shuffling_does_not_change_what_is_chosen(chance: random.Random, seed: int) -> None:
    """What a sentence says decides, not where it stands."""
    known = [f"{first}{second}ano" for first in ("bel", "cor", "dum", "fil", "gur") for second in "abcdefg"]
    source = random.Random(seed)
    sentences = [" ".join(source.choices(known, k=8)).capitalize() + "." for _ in range(12)]
    shuffled = chance.sample(sentences, len(sentences))
    assert sorted(summarise(" ".join(shuffled), 3)) == sorted(summarise(" ".join(sentences), 3))


def test_the_sentence_about_the_subject_wins() -> None:
    """Given chatter around one subject, when summarised in one sentence, then it is the one about the subject."""
    text = (
        "Thank you for the tea and the biscuits of yesterday. The weather was kind to everybody on the way home. "
        "The pump in the cellar is broken. The broken pump flooded the cellar and the pump motor burnt out. "
        "A new pump motor costs little. My aunt sends her love."
    )
    assert summarise(text, 1) == ["The broken pump flooded the cellar and the pump motor burnt out."]


def test_a_second_sentence_adds_something() -> None:
    """Two sentences that say nearly the same are not both chosen."""
    text = (
        "The main pump of the ferry failed at sea. The main pump of the ferry failed near land. "
        "Passengers waited for the harbour launch. The harbour launch carried passengers ashore. Birds sang."
    )
    first, second = summarise(text, 2)
    assert "pump" in first
    assert "launch" in second


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("", []),
        (" \n\f\t", []),
        ("Hello", ["Hello"]),
        ("Only one sentence here.", ["Only one sentence here."]),
        ("# A heading\n\nThe only sentence of the page.", ["The only sentence of the page."]),
        ("Same again, it is the same.\n\nSame again, it is the same.", ["Same again, it is the same."]),
    ],
)
def test_small_texts(text: str, summary: list[str]) -> None:
    """Nothing gives nothing; the least something gives itself."""
    assert summarise(text) == summary


def test_a_summary_of_no_sentences_is_refused() -> None:
    """The error names the number that was asked for."""
    with pytest.raises(ValueError, match="not 0"):
        summarise("Some text.", 0)


def test_huge_text_is_summarised_in_seconds(random_sentences: Callable[..., list[str]]) -> None:
    """A megabyte and a half is read once, not once a sentence."""
    text = " ".join(random_sentences(seed=3, count=20_000, vocabulary=5_000))
    began = time.perf_counter()
    summary = summarise(text, 3)
    assert time.perf_counter() - began < 15
    assert len(summary) == 3


def test_the_same_text_gives_the_same_summary_in_every_process(documents: dict[str, str]) -> None:
    """Neither the order of sets nor the seed of hashes shows in the answer."""
    text = documents["incident-report-cold-store.md"]
    code = "import sys; from document_intake.summarise import summarise; print(summarise(sys.stdin.read(), 4))"
    import document_intake

    examples = str(Path(document_intake.__file__).parents[1])
    answers = {
        subprocess.run(
            [sys.executable, "-X", "utf8", "-c", code],
            input=text,
            encoding="utf-8",
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": examples},
            capture_output=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }
    assert answers == {str(summarise(text, 4))}


def test_pages_of_the_demo_give_whole_sentences_quickly(documents: dict[str, str]) -> None:
    """Every page of every document: two sentences of that page, in less than 5 ms."""
    for name, text in documents.items():
        for page in split_pages(text):
            summary = summarise(page)
            assert len(summary) == 2, name
            assert all(sentence in page and sentence.endswith(".") for sentence in summary), name
            assert _fastest(partial(summarise, page)) < 0.005, name


def _fastest(call: Callable[[], object], runs: int = 10) -> float:
    def once() -> float:
        began = time.thread_time()
        call()
        return time.thread_time() - began

    return min(once() for _ in range(runs))
