"""Replies: two kinds of words count, in any spelling, and nothing else."""

import pytest

from domain.replies import Word, number_of, word_of


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("STOP", Word.STOP),
        (" stop. ", Word.STOP),
        ("Stop All", Word.STOP),
        ("'Unsubscribe'!", Word.STOP),
        ("OPT\nOUT", Word.STOP),
        ("start", Word.START),
        ("UnStop", Word.START),
        ("yes", None),
        ("STOP please", None),
        ("please stop", None),
        ("don't stop", None),
        ("", None),
        ("stop" * 100, None),
        ("s t o p", None),
        (None, None),
        (["stop"], None),
    ],
)
def test_only_a_single_word_counts(text: object, word: Word | None) -> None:
    assert word_of(text) is word


def test_a_vendor_may_know_more_words() -> None:
    assert word_of("Yes.", {"yes": Word.START}) is Word.START


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("+2348031236789", "+2348031236789"),
        ("2348031236789 ", "+2348031236789"),
        ("08031236789", None),
        ("whatsapp:+2348031236789", None),
        ("Herald", None),
        ("12345", None),
        (2348031236789, None),
        (None, None),
    ],
)
def test_a_sender_is_a_number_in_international_form(value: object, number: str | None) -> None:
    assert number_of(value) == number
