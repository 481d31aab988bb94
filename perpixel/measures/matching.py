"""Matching: which results hit an object of the truth, by COCO's rule (cocoapi, cocoeval.py, evaluateImg), compiled.

In each picture and category, at each IoU and range of area, results take objects in order of their scores, each the one that it
overlaps most of those that are free. Objects of another area and crowds are taken last; what takes them counts nowhere, nor does
a result of another area that takes nothing. A crowd may be taken many times, and its IoU is the share of the result in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled
from perpixel.masks.runs import Runs, measure

IOUS = np.linspace(0.5, 0.95, 10)
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])  # all, small, medium, large; pixels
MOST = 100  # results of a category in a picture
IGNORED, HIT, FALSE = 0, 1, 2


class Shapes(NamedTuple):
    """Boxes, left, top, width, height (N, 4). Of masks also the places before which each turns from 0 to 1 and back: mask i has
    those from `ends[i]` to `ends[i + 1]`; and of bands the same. `ends` is (1,) where there are none."""

    boxes: NDArray[np.float64]
    turns: NDArray[np.int64]
    ends: NDArray[np.int64]
    band_turns: NDArray[np.int64]
    band_ends: NDArray[np.int64]


NO_MASKS = np.zeros(0, np.int64), np.zeros(1, np.int64)


@dataclass(frozen=True)
class Entries:
    """Objects or results: the places of their pictures and categories, their areas and shapes; and scores of results, or 1 where
    an object is a crowd (N,)."""

    pictures: NDArray[np.int64]
    categories: NDArray[np.int64]
    areas: NDArray[np.float64]
    shapes: Shapes
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """`outcomes` (ranges of area, IoUs, results) of results by category, picture and score; `places` are theirs in the picture.

    `objects` (ranges of area, cells) are how many count, in each picture and category that has any."""

    outcomes: NDArray[np.uint8]
    categories: NDArray[np.int64]
    pictures: NDArray[np.int64]
    places: NDArray[np.int64]
    scores: NDArray[np.float64]
    objects: NDArray[np.int64]
    cell_categories: NDArray[np.int64]
    cell_pictures: NDArray[np.int64]


def by_boxes(boxes: NDArray[np.float64]) -> Shapes:
    return Shapes(boxes, *NO_MASKS, *NO_MASKS)


def by_masks(masks: Runs, heights: NDArray[np.int64], bands: Runs | None = None) -> tuple[Shapes, NDArray[np.int64]]:
    """The shapes of masks in pictures of these heights (N,), and their areas."""
    turns, areas, boxes = measure(masks, heights)
    of_bands = NO_MASKS if bands is None else (measure(bands, heights)[0], bands.ends)
    return Shapes(boxes, turns, masks.ends, *of_bands), areas


def match(objects: Entries, results: Entries, pictures: int) -> Matches:
    """What became of the first 100 results of each category in each of so many pictures. Equal scores keep their order."""
    cells = [one.categories * pictures + one.pictures for one in (objects, results)]
    every = np.unique(np.concatenate(cells))
    by_cell, ranked = np.argsort(cells[0], kind="stable"), np.lexsort((-results.scores, cells[1]))
    first, first_result = (np.searchsorted(cell[order], every) for cell, order in zip(cells, (by_cell, ranked), strict=True))
    places = np.arange(len(ranked)) - np.repeat(first_result, np.diff(np.append(first_result, len(ranked))))
    ranked, places = ranked[places < MOST], places[places < MOST]
    bounds = np.searchsorted(cells[1][ranked], np.append(every, np.iinfo(np.int64).max))
    outcomes, counts = _match(
        by_cell, np.append(first, len(by_cell)), objects.areas, objects.scores, objects.shapes,
        ranked, bounds, results.areas, results.shapes, IOUS, AREAS,
    )  # fmt: skip
    return Matches(
        outcomes, results.categories[ranked], results.pictures[ranked], places, results.scores[ranked],
        counts, every // max(pictures, 1), every % max(pictures, 1),
    )  # fmt: skip


@compiled(error_model="numpy")
def _match(
    by_cell: Any, bounds: Any, areas: Any, crowds: Any, shapes: Any,
    ranked: Any, result_bounds: Any, result_areas: Any, result_shapes: Any, thresholds: Any, ranges: Any,
) -> Any:  # fmt: skip
    outcomes = np.empty((len(ranges), len(thresholds), len(ranked)), np.uint8)
    counts = np.zeros((len(ranges), len(bounds) - 1), np.int64)
    for cell in range(len(bounds) - 1):
        objects, results = by_cell[bounds[cell] : bounds[cell + 1]], ranked[result_bounds[cell] : result_bounds[cell + 1]]
        ious = np.empty((len(results), len(objects)))
        for i in range(len(results)):
            for j in range(len(objects)):
                ious[i, j] = _iou(result_shapes, results[i], shapes, objects[j], crowds[objects[j]] > 0)
        taken, ignored, order = np.empty(len(objects), np.bool_), np.empty(len(objects), np.bool_), objects.copy()
        for area in range(len(ranges)):
            least, most = ranges[area]
            kept = 0
            for passing in range(2):  # objects that count before those that do not
                for j in range(len(objects)):
                    ignored[j] = crowds[objects[j]] > 0 or areas[objects[j]] < least or areas[objects[j]] > most
                    if ignored[j] == (passing == 1):
                        order[kept] = j
                        kept += 1
                if passing == 0:
                    counts[area, cell] = kept
            for level in range(len(thresholds)):
                taken[:] = False
                for i in range(len(results)):
                    best, found = min(thresholds[level], 1 - 1e-10), -1
                    for j in order:
                        if taken[j] and not crowds[objects[j]] > 0:
                            continue
                        if found >= 0 and not ignored[found] and ignored[j]:
                            break
                        if ious[i, j] < best:
                            continue
                        best, found = ious[i, j], j
                    if found >= 0:
                        taken[found] = True
                        outcome = IGNORED if ignored[found] else HIT
                    else:
                        size = result_areas[results[i]]
                        outcome = IGNORED if size < least or size > most else FALSE
                    outcomes[area, level, result_bounds[cell] + i] = outcome
    return outcomes, counts


@compiled(error_model="numpy")
def _iou(results: Any, result: int, objects: Any, one: int, crowd: bool) -> Any:
    """As cocoapi's maskApi.c has it, rleIou and bbIou."""
    box, other = results.boxes[result], objects.boxes[one]
    wide = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    high = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    if len(objects.ends) == 1:
        area, shared = box[2] * box[3], wide * high
        return shared / (area if crowd else area + other[2] * other[3] - shared)
    iou = _iou_of_masks(results.turns, results.ends, result, objects.turns, objects.ends, one, crowd)
    if len(objects.band_ends) == 1 or crowd:
        return iou
    of_result, of_object = (results.band_turns, results.band_ends), (objects.band_turns, objects.band_ends)
    return min(iou, _iou_of_masks(*of_result, result, *of_object, one, False))


@compiled(error_model="numpy")
def _iou_of_masks(turns: Any, ends: Any, one: int, other_turns: Any, other_ends: Any, other: int, crowd: bool) -> Any:
    i, last, j, other_last = ends[one], ends[one + 1] - 1, other_ends[other], other_ends[other + 1] - 1
    shared = 0
    while i < last and j < other_last:
        stop, other_stop = turns[i + 1], other_turns[j + 1]
        shared += max(min(stop, other_stop) - max(turns[i], other_turns[j]), 0)
        if stop < other_stop:
            i += 2
        else:
            j += 2
    if shared == 0:
        return 0.0
    union = 0
    for place in range(ends[one], last, 2):
        union += turns[place + 1] - turns[place]
    if not crowd:
        for place in range(other_ends[other], other_last, 2):
            union += other_turns[place + 1] - other_turns[place]
        union -= shared
    return shared / union
