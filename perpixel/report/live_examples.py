"""A live example of the review's page: two small pictures of five classes, and the eight mIoUs of one prediction.

The page's script computes the same numbers anew when a reader changes the prediction; a test compares both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from perpixel.judging.conventions import CONVENTIONS, PictureCounts, Totals

LETTERS = "abcde"  # classes; e occurs nowhere
COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442")  # Okabe and Ito's, which all kinds of vision tell apart
TRUTH = (
    ("aaaaaaaa", "aaaaaaaa", "bbbbccbb", "bbbbccbb", "bbbbbbbb"),
    ("aaaaaaaa", "aaaabbbb", "aaaabbbb", "bbbbbbbb", "bbbbbbbb"),
)
PREDICTION = (
    ("aaaaaaaa", "aaaaabba", "bbbbbcbb", "bbbbccbb", "bbbbbbbd"),
    ("aaaaaaaa", "aaaaabbb", "aaaabcbb", "bbbbbbbb", "bbbbbbbb"),
)


def eight_miou(predictions: Sequence[Sequence[str]]) -> dict[str, float]:
    """The mIoU of each convention, by its key."""
    pictures = [
        PictureCounts.of("", _ids(truth), _ids(predicted), len(LETTERS), 255)
        for truth, predicted in zip(TRUTH, predictions, strict=True)
    ]
    totals = Totals.of(pictures, len(LETTERS))
    return {one.key: one.score(totals, pictures) for one in CONVENTIONS}


def _ids(rows: Sequence[str]) -> Any:
    return np.array([[LETTERS.index(letter) for letter in row] for row in rows], np.uint8)


def eight() -> dict[str, Any]:
    """The example in the form that the page takes."""
    scores = eight_miou(PREDICTION)
    return {
        "letters": LETTERS, "colours": COLOURS, "truth": TRUTH, "prediction": PREDICTION,
        "rules": [{"key": one.key, "packages": one.packages, "score": f"{scores[one.key]:.3f}"} for one in CONVENTIONS],
    }  # fmt: skip
