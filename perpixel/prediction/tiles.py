"""Overlap-tile (U-Net, section 2 and figure 2): a picture of any size by passes over tiles, in the memory of one tile.

A network with valid convolutions gives no scores for a border on each side of its input. So inputs overlap by this border, and at
the edges of the picture the border shows the picture mirrored. Every score is computed from the same pixels, and on the same
pooling grid, as in one pass over the whole picture, so tiles leave no seams."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import UsageError
from perpixel.networks import BorderedNetwork, PixelNetwork, has_border
from perpixel.prediction.score_maps import Scores, Window, scores_of
from perpixel.prediction.symmetries import Symmetry, turned, turned_back, turned_window

GRID = 16  # pixels: four pools of 2, so tiles begin at multiples of 16
REST = 4  # an output has 16 n + 4 pixels, because every pool needs an even side


def tiles(
    network: BorderedNetwork, image: NDArray[np.uint8], size: tuple[int, int], side: int, symmetries: Sequence[Symmetry]
) -> Iterator[tuple[Window, Scores]]:
    """Windows that cover a picture of `size`, each with its scores; `image` is the picture as the network sees it.

    A pass sees `side` x `side` pixels with the border. In turned pictures, and where `image` has another size, a window may not
    begin on the grid; then a pass sees up to 32 pixels more each way. Scores are the mean over `symmetries`."""
    seen = image.shape[0], image.shape[1]
    most = kept(network, side)
    step = [most if ours == theirs else max(1, int((most - 2) * ours / theirs)) for ours, theirs in zip(size, seen, strict=True)]
    for top in range(0, size[0], step[0]):
        for left in range(0, size[1], step[1]):
            window = top, left, min(top + step[0], size[0]), min(left + step[1], size[1])
            cells = _cells(window, size, seen)
            parts = (
                turned_back(_valid(network, turned(image, symmetry), turned_window(cells, seen, symmetry)), symmetry)
                for symmetry in symmetries
            )
            total = np.array(next(parts), np.float32)
            for part in parts:
                total += part
            total /= len(symmetries)
            yield window, Scores(total, 1, 0.0, seen, cells[:2])


def tiled(network: PixelNetwork, side: int) -> BorderedNetwork:
    """`network` itself. Raises UsageError where it has no border by which tiles could overlap."""
    if has_border(network):
        return network
    raise UsageError(
        f"tile = {side}: {type(network).__name__} pads its convolutions, so a tile is not a part of the picture to it; "
        "only a network with valid convolutions has tiles: unet as published."
    )


def kept(network: BorderedNetwork, side: int) -> int:
    """The side of the scores on the grid that a tile of `side` x `side` pixels gives. Raises UsageError for a wrong side."""
    least = 2 * network.border + REST + GRID
    if side < least or (side - least) % GRID:
        raise UsageError(f"tile = {side}: an input tile has 16 k + 60 pixels a side and at least {least}, such as 572.")
    return side - 2 * network.border - REST


def mirrored(side: int, first: int, last: int) -> NDArray[Any]:
    """The row numbers first..last-1 of a picture of `side` rows; outside, the picture is mirrored repeatedly at its edge rows."""
    period = max(1, 2 * (side - 1))
    place = np.arange(first, last) % period
    return np.where(place < side, place, period - place)


def _cells(window: Window, size: tuple[int, int], seen: tuple[int, int]) -> Window:
    """The pixels of the network's input that interpolation reads for a window of the picture."""
    first, last = [], []
    for axis in (0, 1):
        ends = [(pixel + 0.5) * seen[axis] / size[axis] - 0.5 for pixel in (window[axis], window[axis + 2] - 1)]
        first.append(max(0, math.floor(ends[0])))
        last.append(min(seen[axis], math.ceil(ends[1]) + 1))
    return first[0], first[1], last[0], last[1]


def _valid(network: BorderedNetwork, image: NDArray[np.uint8], cells: Window) -> NDArray[np.float32]:
    """Scores (h, w, C) of a window of `image`, from the tile around it that begins on the grid."""
    starts = [first // GRID * GRID for first in cells[:2]]
    ends = [last + (REST - last) % GRID for last in cells[2:]]
    rows, columns = (
        mirrored(side, first - network.border, last + network.border)
        for side, first, last in zip(image.shape, starts, ends, strict=False)
    )
    scores = scores_of(network.valid_score_map, network, image[np.ix_(rows, columns)]).scores
    return scores[cells[0] - starts[0] : cells[2] - starts[0], cells[1] - starts[1] : cells[3] - starts[1]]
