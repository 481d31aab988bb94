"""Cross-validation without lists: the names of folds are splits of any data set that has none of its own.

    fold1of5, fold2of5 ...    a fifth, judged: every fifth picture, from the first, the second ... on
    rest1of5, rest2of5 ...    the other four fifths, trained on

Of a stack of slices or a film every fold shows each part; as neighbours look alike, the judged ones flatter a little."""

from __future__ import annotations

import re

from perpixel.errors import UsageError


def split_folds(count: int, split: str) -> list[int] | None:
    """The indices among `count` pictures that `split` names: of fold k of n those with i % n == k - 1, of the rest the others.

    None for a split that is not named so. Raises UsageError where there is no such fold: k from 1 to n, n from 2 to `count`."""
    match = re.fullmatch(r"(fold|rest)(\d{1,9})of(\d{1,9})", split, re.ASCII)
    if match is None:
        return None
    fold, folds = int(match[2]), int(match[3])
    if not 2 <= folds <= count:
        raise UsageError(f"split {split!r}: {count} pictures make 2 to {count} folds, not {folds}; use a number between.")
    if not 1 <= fold <= folds:
        raise UsageError(f"split {split!r}: there is no fold {fold} of {folds}; count them from 1 to {folds}.")
    return [index for index in range(count) if (index % folds == fold - 1) == (match[1] == "fold")]
