"""What texts say about a question, by the words they share."""

from document_intake.questions import pages_about, sentences_about

PAGES = ["The boat needs paint.", "The harbour closes at nine.", "The harbour charges boats by length."]
TEXT = "The harbour closes at nine. Dogs are welcome on the quay. The harbour charges boats by their full length."


def test_the_pages_that_share_most_words_come_first():
    """Given pages, when a question is asked, then those that share words with it are found, the best first."""
    assert pages_about("What does a harbour charge boats?", PAGES, 3) == [2, 0, 1]
    assert pages_about("What does a harbour charge boats?", PAGES, 1) == [2]


def test_a_page_that_shares_no_word_is_not_found():
    """Given pages, when a question shares nothing with them, or nothing that carries meaning, then none is found."""
    assert pages_about("Xylophones?", PAGES, 3) == []
    assert pages_about("What is the?", PAGES, 3) == []


def test_the_best_sentences_stand_in_the_order_of_the_text():
    """Given a text, when a question is asked, then the best sentences are slices of it, as they stand."""
    assert sentences_about("How long is a boat in the harbour?", TEXT, 2) == [
        "The harbour closes at nine.",
        "The harbour charges boats by their full length.",
    ]


def test_a_text_that_says_nothing_about_it_gives_no_sentence():
    """Given a text, when a question shares no word with it, then nothing is made up."""
    assert sentences_about("Xylophones?", TEXT, 6) == []
