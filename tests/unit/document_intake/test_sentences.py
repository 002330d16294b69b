"""Texts are cut into sentences as a reader would, and no character is lost on the way."""

import time

import pytest
from document_intake.sentences import pieces, split_sentences, words
from hypothesis import example, given, settings
from hypothesis import strategies as st


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text())
@example("  leading and trailing  ")
@example("x" * 500)
@example("\r\n\t\f\x00\ufeff")
def test_streamed_pieces_join_to_the_text(text: str) -> None:
    """Whatever the text, its pieces in a row are the text."""
    assert "".join(words(text)) == text


def test_a_piece_is_a_word_with_the_space_after_it() -> None:
    """A reader sees one word appear at a time."""
    assert words(" Twelve pages,\n two lost. ") == [" ", "Twelve ", "pages,\n ", "two ", "lost. "]


def test_text_without_spaces_streams_in_several_pieces() -> None:
    """One endless word must not arrive as one endless piece."""
    assert [len(piece) for piece in words("x" * 100)] == [40, 40, 20]


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text(alphabet=st.sampled_from("aA1.!?…。\"')*#-_ \n\t|`~>:é"), max_size=300))
def test_every_piece_is_a_slice_in_order(text: str) -> None:
    """Pieces never overlap, never change a character, and leave out only marks and white space."""
    end = 0
    for piece in pieces(text):
        assert end <= piece.start < piece.end
        assert text[piece.start : piece.end] == piece.text == piece.text.strip()
        end = piece.end


@settings(deadline=None)  # a busy machine is not a failure
@given(st.lists(st.sampled_from(["ab", "cde", "XY", " ", ".", "!", "\n"]), max_size=200).map("".join))
def test_no_letter_is_lost(text: str) -> None:
    """Text without layout marks is in its sentences completely."""
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rained. We stayed.", ["It rained.", "We stayed."]),
        ("Dr. Nwosu paid £3.50 to Mr. Pask. He left.", ["Dr. Nwosu paid £3.50 to Mr. Pask.", "He left."]),
        ("Samuel T. Okonjo signed. It was late.", ["Samuel T. Okonjo signed.", "It was late."]),
        ("We met at 9 p.m. It was dark.", ["We met at 9 p.m.", "It was dark."]),
        ("Use tools, e.g. Hammers or saws. Or none!", ["Use tools, e.g. Hammers or saws.", "Or none!"]),
        ("See contract no. SC-2025-014 for this. Thanks.", ["See contract no. SC-2025-014 for this.", "Thanks."]),
        ("She said no. Nobody moved.", ["She said no.", "Nobody moved."]),
        ('"Stop!" he cried. "Now."', ['"Stop!" he cried.', '"Now."']),
        ("He waited ... and left. Gone?! Yes.", ["He waited ... and left.", "Gone?!", "Yes."]),
        ("Beta Ltd. sells it. Acme Ltd. The rest follow.", ["Beta Ltd. sells it.", "Acme Ltd.", "The rest follow."]),
        ("It follows from clause 7. The sum is fixed.", ["It follows from clause 7.", "The sum is fixed."]),
        ("今日は雨です。明日は晴れます。", ["今日は雨です。", "明日は晴れます。"]),
        ("A line\nwrapped by hand. Another\r\none.", ["A line\nwrapped by hand.", "Another\r\none."]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, sentences: list[str]) -> None:
    """Abbreviations, initials, decimals, quotes and ellipses do not end a sentence; what follows decides."""
    assert split_sentences(text) == sentences


def test_layout_is_not_prose() -> None:
    """Given headings, labels, a table, code and list items, only the sentences count as prose."""
    text = """# A heading

Date: 3 May 2025
Place: here

1. The pump was replaced.
- The valve was not.

Item      Price
Pump      £30.00

| a | b |

```
x = compute(). Done.
```

Underlined
==========

And so it ended.
"""
    assert [piece.text for piece in pieces(text) if piece.prose] == [
        "The pump was replaced.",
        "The valve was not.",
        "And so it ended.",
    ]
    assert "A heading" in split_sentences(text)
    assert "Place: here" in split_sentences(text)


def test_a_run_without_a_full_stop_is_cut_at_spaces() -> None:
    """A megabyte without punctuation is not one sentence."""
    found = split_sentences("word " * 200_000)
    assert max(map(len, found)) <= 1_000
    assert set(" ".join(found).split()) == {"word"}


@pytest.mark.parametrize(
    "hostile", ["." * 500_000 + "x", "A" * 500_000, *(u * 200_000 for u in (". ", "- ", "(\n", "\t"))]
)
def test_time_grows_with_the_text_and_not_faster(hostile: str) -> None:
    """Half a megabyte made to hurt takes seconds at most."""
    began = time.perf_counter()
    split_sentences(hostile)
    words(hostile)
    assert time.perf_counter() - began < 10
