"""Cross-validation without lists: a data set without splits has the names of folds as splits.

    fold1of5, fold2of5 ...    a fifth, to judge on: every fifth picture, from the first, the second ... on
    rest1of5, rest2of5 ...    the other four fifths, to train on

Every fold shows each part of a stack or a film. Neighbouring pictures look alike, so scores on a fold are a little too high."""

from __future__ import annotations

import re

from perpixel.errors import UsageError


def split_folds(count: int, split: str) -> list[int] | None:
    """The indices of the pictures in a fold or its rest, among `count` pictures. None for a split with another name.

    Fold k of n has the indices i with i % n == k - 1, and its rest the others. Raises UsageError unless 1 <= k <= n and
    2 <= n <= `count`."""
    match = re.fullmatch(r"(fold|rest)(\d{1,9})of(\d{1,9})", split, re.ASCII)
    if match is None:
        return None
    fold, folds = int(match[2]), int(match[3])
    if not 2 <= folds <= count:
        raise UsageError(f"split {split!r}: {count} pictures make 2 to {count} folds, not {folds}; use a number between.")
    if not 1 <= fold <= folds:
        raise UsageError(f"split {split!r}: there is no fold {fold} of {folds}; count them from 1 to {folds}.")
    return [index for index in range(count) if (index % folds == fold - 1) == (match[1] == "fold")]
