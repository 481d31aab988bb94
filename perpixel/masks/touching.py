"""What keeps touching cells apart in U-Net's training (Ronneberger, Fischer, Brox, MICCAI 2015, section 3): borders drawn between
them as background, and a weight map that is high where two cells are near.

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))          (equation 2; w0 = 10, sigma = 5 pixels)

w_c balances the classes: the paper gives no formula, here it is the weight of the pixel's class by the setting `class_weights`.
d1 and d2 are the distances to the nearest and the second nearest cell. The paper leaves open how they are counted: here
between centres of pixels, so that a pixel beside a cell has d1 = 1. On a cell, and where d1 + d2 > 5 sigma, the second term is 0
(it would be below 4e-6 w0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.machines.compiled import compiled
from perpixel.sample import Instances

W0, SIGMA = 10.0, 5.0  # of the paper
REACH = 5.0  # in sigma: how far apart two cells may be


def touching(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of an object that have a pixel of another object among their 8 neighbours, bool (H, W).

    `numbers` (H, W) is 0 where there is no object. Objects that touch lose one pixel each, so the border is two wide."""
    found = np.zeros(numbers.shape, np.bool_)
    for one, other in (
        (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]), (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):  # fmt: skip
        a, b = numbers[one], numbers[other]
        differ = (a != b) & (a != 0) & (b != 0)
        found[one] |= differ
        found[other] |= differ
    return found


def components(labels: NDArray[Any], class_id: int) -> Instances:
    """The connected regions of a class as objects; pixels that meet at a corner only are not connected."""
    numbers, count = ndimage.label(labels == class_id, output=np.int32)
    return Instances.of_numbers(numbers, np.full(count, class_id, np.int64))


def weight_map(
    labels: NDArray[Any], objects: Instances, void: int, class_weights: Sequence[float], w0: float = W0, sigma: float = SIGMA
) -> NDArray[np.float32]:
    """w of equation 2, float32 (H, W), with `class_weights` (C,) as w_c; 0 at void.

    A cell is what `labels` (H, W) show of an object: drawn borders and void are no part of it."""
    class_of = np.concatenate([[-1], objects.class_ids])
    cells = np.where(labels == class_of[objects.numbers], objects.numbers, 0)
    balance = np.zeros(void + 1, np.float32)
    balance[: len(class_weights)] = class_weights
    return np.where(labels == void, np.float32(0), balance[labels] + separation(cells, w0, sigma))


def separation(cells: NDArray[Any], w0: float = W0, sigma: float = SIGMA) -> NDArray[np.float32]:
    """The second term of equation 2, float32 (H, W), from the numbers of cells (H, W), 0 where there is none."""
    reach = np.sqrt(_two_nearest(np.ascontiguousarray(cells, np.int32), int(np.ceil(REACH * sigma))), dtype=np.float32).sum(2)
    term: NDArray[np.float32] = w0 * np.exp(-(reach**2) / np.float32(2 * sigma**2))
    return np.where((cells == 0) & (reach <= REACH * sigma), term, np.float32(0))


@compiled()
def _two_nearest(cells: Any, reach: int) -> Any:
    """Squared distances to the nearest and second nearest cell, int32 (H, W, 2), where the distances sum to `reach` at most;
    elsewhere they may be too large, and on cells they are.

    Exact, in time that does not depend on the number of cells: in each column the two nearest different cells of a pixel
    suffice, because two others are nearer than any third. Then each pixel asks the columns around it."""
    height, width = cells.shape
    far = 4 * reach * reach
    numbers = np.zeros((height, width, 2), np.int32)  # the two nearest cells in the column
    squares = np.full((height, width, 2), far, np.int32)
    seen, rows = np.zeros((width, 2), np.int32), np.zeros((width, 2), np.int32)  # the last two cells and where they were
    for turn in range(2):  # down, then up
        seen[:] = 0
        rows[:] = -2 * reach if turn == 0 else height + 2 * reach
        for step in range(height):
            y = step if turn == 0 else height - 1 - step
            for x in range(width):
                cell = cells[y, x]
                if cell != 0:
                    if cell != seen[x, 0]:
                        seen[x, 1], rows[x, 1] = seen[x, 0], rows[x, 0]
                        seen[x, 0] = cell
                    rows[x, 0] = y
                for which in range(2):
                    square = (y - rows[x, which]) ** 2
                    if square < squares[y, x, 1]:
                        _put(numbers, squares, y, x, seen[x, which], square)
    found_numbers, found = np.zeros((height, width, 2), np.int32), np.full((height, width, 2), far, np.int32)
    for y in range(height):
        for x in range(width):
            if cells[y, x] != 0:
                continue
            for away in range(reach + 1):
                # What is still to come is at least this far, and the sum must stay within reach.
                nearest = min(found[y, x, 0], away * away)
                if away * away >= found[y, x, 1] or (away < reach and nearest > (reach - away) ** 2):
                    break
                for column in (x - away, x + away):
                    if 0 <= column < width:
                        for which in range(2):
                            square = squares[y, column, which] + away * away
                            if square < found[y, x, 1]:
                                _put(found_numbers, found, y, x, numbers[y, column, which], square)
    return found


@compiled(inline="always")
def _put(numbers: Any, squares: Any, y: int, x: int, number: int, square: int) -> None:
    """Keeps the two nearest different numbers of a pixel, the nearest first; `square` is below the second's."""
    if number == numbers[y, x, 0]:
        squares[y, x, 0] = min(squares[y, x, 0], square)
    elif square < squares[y, x, 0]:
        numbers[y, x, 1], squares[y, x, 1] = numbers[y, x, 0], squares[y, x, 0]
        numbers[y, x, 0], squares[y, x, 0] = number, square
    else:
        numbers[y, x, 1], squares[y, x, 1] = number, square
