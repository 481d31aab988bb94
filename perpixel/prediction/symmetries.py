"""The eight symmetries of a square: a picture is turned, and what a network answers is turned back. All are exact.

A symmetry is (transposed, rows reversed, columns reversed), done in this order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.prediction.score_maps import Window

Symmetry = tuple[bool, bool, bool]
FLIPS: tuple[Symmetry, ...] = tuple((False, rows, columns) for rows in (False, True) for columns in (False, True))
ALL: tuple[Symmetry, ...] = (*FLIPS, *((True, rows, columns) for _, rows, columns in FLIPS))


def turned(array: NDArray[Any], symmetry: Symmetry, first: int = 0) -> NDArray[Any]:
    """A view of `array`, whose rows are its axis `first` and whose columns are the next one."""
    return _reversed(array.swapaxes(first, first + 1) if symmetry[0] else array, symmetry, first)


def turned_back(array: NDArray[Any], symmetry: Symmetry, first: int = 0) -> NDArray[Any]:
    """The view that undoes `turned`."""
    array = _reversed(array, symmetry, first)
    return array.swapaxes(first, first + 1) if symmetry[0] else array


def turned_window(window: Window, size: tuple[int, int], symmetry: Symmetry) -> Window:
    """Where a window of a picture of `size` lies in the turned picture."""
    (top, left, bottom, right), (height, width) = window, size
    transposed, rows, columns = symmetry
    if transposed:
        top, left, bottom, right, height, width = left, top, right, bottom, width, height
    if rows:
        top, bottom = height - bottom, height - top
    if columns:
        left, right = width - right, width - left
    return top, left, bottom, right


def _reversed(array: NDArray[Any], symmetry: Symmetry, first: int) -> NDArray[Any]:
    flipped: NDArray[Any] = np.flip(array, tuple(axis for axis, yes in zip((first, first + 1), symmetry[1:], strict=True) if yes))
    return flipped
