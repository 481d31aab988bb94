"""Keeps touching cells apart in U-Net's training (Ronneberger, Fischer, Brox, MICCAI 2015, section 3).

Borders between cells become background, and a weight map is high where two cells are near:

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))          (equation 2; w0 = 10, sigma = 5 pixels)

w_c balances the classes. The paper gives no formula; here it is the weight of the pixel's class by the setting `class_weights`.
d1 and d2 are the distances to the nearest and the second nearest cell. The paper does not say how they are measured; here they
go between centres of pixels, so a pixel beside a cell has d1 = 1. On a cell, and where d1 + d2 > 5 sigma, the second term is 0
(by the formula it would be below 4e-6 w0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.instances import Instances
from perpixel.machines.compiled import compiled

W0, SIGMA = 10.0, 5.0  # the paper's; sigma in pixels
REACH = 5.0  # the greatest d1 + d2 with a second term, in sigma


def touching(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """True at pixels of an object that have a pixel of another object among their 8 neighbours, bool (H, W).

    `numbers` (H, W) is 0 where there is no object. Each of two touching objects loses a line of pixels, so the border is two
    pixels wide."""
    borders = np.zeros(numbers.shape, np.bool_)
    for here, there in (
        (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]), (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):  # fmt: skip
        a, b = numbers[here], numbers[there]
        differ = (a != b) & (a != 0) & (b != 0)
        borders[here] |= differ
        borders[there] |= differ
    return borders


def components(labels: NDArray[Any], class_id: int) -> Instances:
    """The connected regions of a class as objects. Pixels that share only a corner are not connected."""
    numbers, count = ndimage.label(labels == class_id, output=np.int32)
    return Instances.of_numbers(numbers, np.full(count, class_id, np.int64))


def weight_map(
    labels: NDArray[Any], objects: Instances, void: int, class_weights: Sequence[float], w0: float = W0, sigma: float = SIGMA
) -> NDArray[np.float32]:
    """w of equation 2, float32 (H, W), with `class_weights` (C,) as w_c; 0 at void.

    A cell is the part of an object where `labels` (H, W) have its class, so borders and void are not part of it."""
    class_of = np.concatenate([[-1], objects.class_ids])
    cells = np.where(labels == class_of[objects.numbers], objects.numbers, 0)
    balance = np.zeros(void + 1, np.float32)
    balance[: len(class_weights)] = class_weights
    return np.where(labels == void, np.float32(0), balance[labels] + separation(cells, w0, sigma))


def separation(cells: NDArray[Any], w0: float = W0, sigma: float = SIGMA) -> NDArray[np.float32]:
    """The second term of equation 2, float32 (H, W). `cells` (H, W) has the number of the cell at each pixel, or 0."""
    reach = np.sqrt(_two_nearest(np.ascontiguousarray(cells, np.int32), int(np.ceil(REACH * sigma))), dtype=np.float32).sum(2)
    term: NDArray[np.float32] = w0 * np.exp(-(reach**2) / np.float32(2 * sigma**2))
    return np.where((cells == 0) & (reach <= REACH * sigma), term, np.float32(0))


@compiled()
def _two_nearest(cells: Any, reach: int) -> Any:
    """Squared distances to the nearest and the second nearest cell, int32 (H, W, 2).

    They are exact where the two distances sum to at most `reach`. Elsewhere they may be too large, and on cells they always are.
    The time does not depend on the number of cells. First the two nearest different cells within its column are found for each
    pixel; a third cell of the column is never among the two nearest of any pixel in the row. Then each pixel looks at the columns
    around it."""
    height, width = cells.shape
    far = 4 * reach * reach
    numbers = np.zeros((height, width, 2), np.int32)  # the two nearest cells in the column
    squares = np.full((height, width, 2), far, np.int32)
    # The last two cells on the way, and their rows.
    last_cells, last_rows = np.zeros((width, 2), np.int32), np.zeros((width, 2), np.int32)
    for direction in range(2):  # down, then up
        last_cells[:] = 0
        last_rows[:] = -2 * reach if direction == 0 else height + 2 * reach
        for step in range(height):
            y = step if direction == 0 else height - 1 - step
            for x in range(width):
                cell = cells[y, x]
                if cell != 0:
                    if cell != last_cells[x, 0]:
                        last_cells[x, 1], last_rows[x, 1] = last_cells[x, 0], last_rows[x, 0]
                        last_cells[x, 0] = cell
                    last_rows[x, 0] = y
                for rank in range(2):
                    square = (y - last_rows[x, rank]) ** 2
                    if square < squares[y, x, 1]:
                        _put(numbers, squares, y, x, last_cells[x, rank], square)
    nearest_numbers, nearest_squares = np.zeros((height, width, 2), np.int32), np.full((height, width, 2), far, np.int32)
    for y in range(height):
        for x in range(width):
            if cells[y, x] != 0:
                continue
            for distance in range(reach + 1):
                # All further columns are at least this far away, and the sum must stay within reach.
                nearest = min(nearest_squares[y, x, 0], distance * distance)
                if distance * distance >= nearest_squares[y, x, 1] or (distance < reach and nearest > (reach - distance) ** 2):
                    break
                for column in (x - distance, x + distance):
                    if 0 <= column < width:
                        for rank in range(2):
                            square = squares[y, column, rank] + distance * distance
                            if square < nearest_squares[y, x, 1]:
                                _put(nearest_numbers, nearest_squares, y, x, numbers[y, column, rank], square)
    return nearest_squares


@compiled(inline="always")
def _put(numbers: Any, squares: Any, y: int, x: int, number: int, square: int) -> None:
    """Puts a cell among the two nearest different cells of a pixel. `square` must be below the square of the second."""
    if number == numbers[y, x, 0]:
        squares[y, x, 0] = min(squares[y, x, 0], square)
    elif square < squares[y, x, 0]:
        numbers[y, x, 1], squares[y, x, 1] = numbers[y, x, 0], squares[y, x, 0]
        numbers[y, x, 0], squares[y, x, 0] = number, square
    else:
        numbers[y, x, 1], squares[y, x, 1] = number, square
