"""A picture in square windows, as PSPNet's and EncNet's released evaluations see it.

The network is run on each window by itself, so that it never sees more than in the crops of its training. Windows begin at
every `step` pixels; the last window ends at the border. Where windows overlap, their scores are averaged. A picture that is
smaller than a window is padded at the bottom and right with the mean colour of the network, and the scores of the padding are
cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.networks import PixelNetwork, mean_colour
from perpixel.prediction.fuse import Answer, Rule
from perpixel.prediction.score_maps import Scores, Window
from perpixel.prediction.symmetries import Symmetry, read_back, scores_of_turned

PIECE = 1 << 18  # scores that are interpolated together


def step_of(window: int) -> int:
    """Two thirds of the window's side, rounded up."""
    return -(-2 * window // 3)


def starts(side: int, window: int, step: int) -> list[int]:
    """Where windows begin along a side of a picture."""
    return [*range(0, side - window, step), max(0, side - window)]


def strips(size: tuple[int, int], classes: int, first: int = 0, last: int | None = None) -> Iterator[Window]:
    """The rows first..last-1 of a picture of `size`, in windows of the full width and of few rows, so that their scores need
    little memory."""
    height, width = size
    end, rows = height if last is None else last, max(1, PIECE // (width * classes))
    return ((top, 0, min(top + rows, end), width) for top in range(first, end, rows))


def windows(
    network: PixelNetwork, classes: int, image: NDArray[np.uint8], size: tuple[int, int], window: int, step: int,
    symmetries: Sequence[Symmetry], rule: Rule,
) -> Iterator[tuple[Window, Answer]]:  # fmt: skip
    """Strips that cover a picture of `size`, each with its scores (h, w, C); `image` is the picture after scaling.

    Scores are joined at the size of `image` and then interpolated. Memory holds the scores of the rows of one window."""
    height, width = image.shape[:2]
    seen = padded(image, window, mean_colour(network).flatten().cpu().numpy())
    tops, lefts = starts(height, window, step), starts(width, window, step)
    rows, columns = min(window, height), min(window, width)  # the size of a window without padding
    row_counts, column_counts = counts(tops, rows, height), counts(lefts, columns, width)
    cells = np.clip((np.arange(size[0]) + 0.5) * height / size[0] - 0.5, 0, None).astype(np.int64)
    # The last row before the windows at `top`, then the rows of these windows: the first pixels of a strip read both.
    joined = np.full((rows + 1, width, classes), rule.no_window, np.float32)
    begin = 0  # the first row of the picture that is not interpolated yet
    for top, end in pairwise((*tops, height)):  # no later window holds the rows top..end-1
        for left in lefts:
            crop = seen[top : top + window, left : left + window]
            scores = scores_of_turned(network, crop, symmetries)
            for strip in strips((window, window), classes, 0, rows):
                answer = rule.turned(read_back(scores, symmetries, (window, window), strip))
                rule.add_window(joined[1 + strip[0] : 1 + strip[2], left : left + columns], answer[:, :columns])
        done = end - top
        rule.average_windows(joined[1 : 1 + done], row_counts[top:end, None, None] * column_counts[:, None])
        finished = Scores(joined[0 if top else 1 : 1 + done], 1, 0.0, (height, width), (max(0, top - 1), 0))
        until = size[0] if end == height else int(np.searchsorted(cells, end - 1))
        for strip in strips(size, classes, begin, until):
            yield strip, finished.interpolated(size, strip, rule.logarithms)
        begin = until
        for row in range(rows + 1 - done):
            joined[row] = joined[row + done]
        joined[rows + 1 - done :] = rule.no_window


def padded(image: NDArray[Any], window: int, colour: NDArray[np.float32]) -> NDArray[Any]:
    """The picture, at least `window` pixels high and wide; float32 in [0, 1] where it is padded with `colour`, (channels,)."""
    height, width = image.shape[:2]
    if min(height, width) >= window:
        return image
    full = np.empty((max(height, window), max(width, window), image.shape[2]), np.float32)
    full[:] = colour
    full[:height, :width] = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image
    return full


def counts(starts: Sequence[int], length: int, side: int) -> NDArray[np.float32]:
    """The number of windows of `length` pixels that hold each pixel of a side."""
    held = np.zeros(side, np.float32)
    for start in starts:
        held[start : start + length] += 1
    return held
