"""What stands in a sentence can be printed, whatever the file or the name behind it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpixel.errors import DataError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("street", "street"),
        ("\u00e9t\u00e9 \ud55c", "\u00e9t\u00e9 \ud55c"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("a\nperpixel: all is well", "a\\nperpixel: all is well"),
        ("a\u202eb", "a\\u202eb"),
        (os.fsdecode(b"im\xffage"), "im\\xffage"),
        ("\ud800", "\\ud800"),  # as JSON may hold it
    ],
)
def test_what_a_terminal_obeys_is_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(DataError(f"{text}: is wrong.")) == f"{shown}: is wrong."


@given(st.text(st.characters()) | st.binary().map(os.fsdecode))
def test_a_sentence_is_one_line_that_every_encoding_of_unicode_holds(text: str) -> None:
    sentence = str(DataError(text))
    assert sentence.isprintable()
    assert sentence.encode("utf-8").decode("utf-8") == sentence
    assert printable(sentence) == sentence
