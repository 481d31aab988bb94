"""The eight symmetries of a square: a picture is turned, and the network's scores are turned back. No turn interpolates.

A symmetry is (transposed, rows reversed, columns reversed), done in this order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.networks import PixelNetwork
from perpixel.prediction.score_maps import Scores, Window, scores_of

Symmetry = tuple[bool, bool, bool]
FLIPS: tuple[Symmetry, ...] = tuple((False, rows, columns) for rows in (False, True) for columns in (False, True))
ALL: tuple[Symmetry, ...] = (*FLIPS, *((True, rows, columns) for _, rows, columns in FLIPS))


def turned(array: NDArray[Any], symmetry: Symmetry, first: int = 0) -> NDArray[Any]:
    """A turned view of `array`; its rows are axis `first`, its columns the next axis."""
    return _reversed(array.swapaxes(first, first + 1) if symmetry[0] else array, symmetry, first)


def turned_back(array: NDArray[Any], symmetry: Symmetry, first: int = 0) -> NDArray[Any]:
    """The view that undoes `turned`."""
    array = _reversed(array, symmetry, first)
    return array.swapaxes(first, first + 1) if symmetry[0] else array


def turned_window(window: Window, size: tuple[int, int], symmetry: Symmetry) -> Window:
    """The same window in the turned picture; `size` is that of the unturned picture."""
    (top, left, bottom, right), (height, width) = window, size
    transposed, rows, columns = symmetry
    if transposed:
        top, left, bottom, right, height, width = left, top, right, bottom, width, height
    if rows:
        top, bottom = height - bottom, height - top
    if columns:
        left, right = width - right, width - left
    return top, left, bottom, right


def scores_of_turned(network: PixelNetwork, image: NDArray[Any], symmetries: Sequence[Symmetry]) -> list[Scores]:
    """The network's scores of the picture, turned by each of `symmetries`. `read_back` reads these scores."""
    return [scores_of(network.score_map, network, turned(image, symmetry)) for symmetry in symmetries]


def read_back(
    scores: Sequence[Scores], symmetries: Sequence[Symmetry], size: tuple[int, int], window: Window
) -> list[NDArray[np.float32]]:
    """The scores (h, w, C) of a window of the picture of `size`, from each of its turned versions, turned back."""
    return [
        turned_back(answer.interpolated(size[::-1] if symmetry[0] else size, turned_window(window, size, symmetry)), symmetry)
        for answer, symmetry in zip(scores, symmetries, strict=True)
    ]


def _reversed(array: NDArray[Any], symmetry: Symmetry, first: int) -> NDArray[Any]:
    axes = (axis for axis, is_reversed in zip((first, first + 1), symmetry[1:], strict=True) if is_reversed)
    # A side of one pixel would only get a negative stride, which torch does not take.
    flipped: NDArray[Any] = np.flip(array, tuple(axis for axis in axes if array.shape[axis] > 1))
    return flipped
