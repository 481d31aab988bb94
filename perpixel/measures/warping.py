"""Warping error: the exact place of a membrane does not matter, only the cells that it separates (Jain et al., CVPR 2010).

The truth is warped towards the prediction: pixels that differ are flipped as long as the flip does not change topology. Such
pixels are the simple points of digital topology, here with 4-connected insides, 8-connected membranes, and membrane beyond the
picture. A pixel that still differs is an error: its flip would split, merge, add or delete an object or a hole.

Theory leaves the order of the flips open. As in the paper, and in Fiji's Trainable Segmentation, which judged ISBI 2012, the
pixels with the most certain prediction are flipped first: |p - threshold| descending, and column by column among equals. Rounds
are repeated until no pixel can be flipped. The kinds of errors are Fiji's too. One rule differs: whether a pixel holds a
segment together is decided on the whole picture, where Fiji's scripts look 20 pixels around."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from perpixel.machines.compiled import compiled
from perpixel.masks.components import NEIGHBOURS

KINDS = ("merges", "splits", "hole_additions", "hole_deletions", "object_additions", "object_deletions")
MERGE, SPLIT, HOLE_ADDITION, HOLE_DELETION, OBJECT_ADDITION, OBJECT_DELETION = range(len(KINDS))


def warping_errors(truth: NDArray[np.bool_], probabilities: NDArray[Any], threshold: float) -> NDArray[np.int64]:
    """The number of pixels that still differ, by `KINDS`, int64 (6,): `truth` is True inside cells, `probabilities` are of
    inside."""
    _, wrong, kinds = warp(truth, probabilities, threshold)
    return np.bincount(kinds[wrong], minlength=len(KINDS)).astype(np.int64)


def warp(
    truth: NDArray[np.bool_], probabilities: NDArray[Any], threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int8]]:
    """The warped truth; where it still differs from `probabilities` > `threshold`; and the place in `KINDS` there; all (H, W)."""
    warped, target = np.pad(truth, 1), np.pad(probabilities > threshold, 1)
    certainty = np.pad(np.abs(probabilities.astype(np.float32) - np.float32(threshold)), 1)
    columns, rows = np.nonzero((warped != target).T)
    order = np.argsort(-certainty[rows, columns], kind="stable")
    _flip(warped, rows[order], columns[order])
    numbers = label(warped, NEIGHBOURS[4], output=np.int32)[0]
    wrong = warped != target
    kinds = _kinds(numbers, wrong, _articulation(warped))
    middle = slice(1, -1), slice(1, -1)
    return warped[middle], wrong[middle], kinds[middle]


@compiled()
def _flip(inside: Any, rows: Any, columns: Any) -> None:
    """Flips the pixels that are simple, in their order, until a round flips no pixel."""
    remaining = rows.size
    while True:
        kept = 0
        for i in range(remaining):
            y, x = rows[i], columns[i]
            if _simple(inside, y, x):
                inside[y, x] = not inside[y, x]
            else:
                rows[kept], columns[kept] = y, x
                kept += 1
        if kept == remaining:
            return
        remaining = kept


@compiled()
def _simple(inside: Any, y: int, x: int) -> bool:
    """Whether a flip keeps the topology: Yokoi's connectivity number of 4-connected objects is 1 (Yokoi et al., CGIP 1975).

    The number is the sum of a (1 - b c) over the four edge-neighbours a of the pixel; b and c are the next two neighbours
    around it."""
    e, s, w, n = inside[y, x + 1], inside[y + 1, x], inside[y, x - 1], inside[y - 1, x]
    number = 0
    if e and not (inside[y - 1, x + 1] and n):
        number += 1
    if n and not (inside[y - 1, x - 1] and w):
        number += 1
    if w and not (inside[y + 1, x - 1] and s):
        number += 1
    if s and not (inside[y + 1, x + 1] and e):
        number += 1
    return number == 1


@compiled()
def _kinds(numbers: Any, wrong: Any, articulation: Any) -> Any:
    """The place in `KINDS` of the flip of each pixel that is `wrong`, by the segments among its 8 neighbours; -1 elsewhere."""
    height, width = numbers.shape
    kinds = np.full((height, width), -1, np.int8)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if not wrong[y, x]:
                continue
            outside, first, several = False, 0, False
            for i in range(max(1, y - 1), min(height - 1, y + 2)):  # the picture's own pixels, not the frame around it
                for j in range(max(1, x - 1), min(width - 1, x + 2)):
                    if i == y and j == x:
                        continue
                    number = numbers[i, j]
                    if number == 0:
                        outside = True
                    elif first == 0:
                        first = number
                    elif number != first:
                        several = True
            is_inside = numbers[y, x] != 0
            if first == 0:
                kinds[y, x] = OBJECT_DELETION if is_inside else OBJECT_ADDITION
            elif several:
                kinds[y, x] = SPLIT if is_inside else MERGE
            elif not outside:
                kinds[y, x] = HOLE_ADDITION if is_inside else HOLE_DELETION
            elif not is_inside:
                kinds[y, x] = HOLE_ADDITION
            else:
                kinds[y, x] = SPLIT if articulation[y, x] else HOLE_DELETION
    return kinds


@compiled()
def _articulation(inside: Any) -> Any:
    """The pixels without which their 4-connected segment would fall into parts: articulation points (Hopcroft and Tarjan, 1973).

    `inside` has a frame of False, so that a pixel's neighbours always exist."""
    height, width = inside.shape
    steps = np.array([1, -1, width, -width])
    flat = inside.ravel()
    is_articulation = np.zeros(flat.size, np.bool_)
    discovered = np.zeros(flat.size, np.int32)  # the place in the order of discovery, from 1
    low = np.zeros(flat.size, np.int32)
    parent = np.full(flat.size, -1, np.int64)
    tried = np.zeros(flat.size, np.int8)
    clock = 0
    for root in range(flat.size):
        if not flat[root] or discovered[root]:
            continue
        clock += 1
        discovered[root] = low[root] = clock
        children, at = 0, root
        while at >= 0:
            if tried[at] < 4:
                other = at + steps[tried[at]]
                tried[at] += 1
                if not flat[other] or other == parent[at]:
                    continue
                if discovered[other]:
                    low[at] = min(low[at], discovered[other])
                    continue
                clock += 1
                discovered[other] = low[other] = clock
                parent[other] = at
                at = other
                continue
            above = parent[at]
            if above == root:
                children += 1
            elif above >= 0 and low[at] >= discovered[above]:
                is_articulation[above] = True
            if above >= 0:
                low[above] = min(low[above], low[at])
            at = above
        is_articulation[root] = children > 1
    return is_articulation.reshape(height, width)
