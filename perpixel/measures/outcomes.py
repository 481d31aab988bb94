"""Outcomes: COCO's AP and AR of pictures that count as often as weights say. The bootstrap and the permutation test ask for them
thousands of times, so results are ranked once, and only summed anew.

A picture that counts twice has each of its results twice, side by side in the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.machines.compiled import compiled
from perpixel.measures.matching import FALSE, IGNORED, IOUS, Matches

RECALLS = np.linspace(0, 1, 101)  # at which precision is taken
AT_50, AT_75 = 0, 5  # places in IOUS
_NO_CURVES = np.zeros((0, 0, 0, 0))


class Outcomes:
    """What became of every result, by range of area (all, small, medium, large) and IoU, ranked in its category.

    `matches` are of the same N pictures and C categories, from one list of results or several. A column is a picture with the
    results of a list: k * N + i is picture i with those of list k."""

    def __init__(self, matches: Sequence[Matches], pictures: int, categories: int) -> None:
        of_results = [(one.categories, one.pictures, one.pictures + place * pictures, one.places, one.scores)
                      for place, one in enumerate(matches)]  # fmt: skip
        category, picture, column, place, score = (np.concatenate(part) for part in zip(*of_results, strict=True))
        order = np.lexsort((place, picture, -score, category))
        self._bounds = np.searchsorted(category[order], np.arange(categories + 1))  # of each category in what follows
        self._columns, self._places = column[order], place[order]
        self._outcomes = np.take(np.concatenate([one.outcomes for one in matches], 2), order, 2)
        self._cell_categories = np.concatenate([one.cell_categories for one in matches])
        self._cell_columns = np.concatenate([one.cell_pictures + place * pictures for place, one in enumerate(matches)])
        self._objects = np.concatenate([one.objects for one in matches], 1)
        self._categories, self._weights = categories, pictures * len(matches)

    def figures(self, weights: NDArray[Any]) -> list[float]:
        """The twelve figures in COCO's order, where each column counts as often as `weights` (columns,) say; nan where no object
        does."""
        return [_mean(one) for one in _twelve(*self._summed(weights.astype(np.float64), 0.0, _NO_CURVES))]

    def official(self) -> tuple[list[float], list[float]]:
        """The twelve figures of all pictures, and AP of each category, to the last digit those of cocoapi: it adds 2^-52 to what
        precision is divided by, and takes means in the order of IoUs, recalls and categories."""
        curves = np.full((self._categories, len(self._objects), len(IOUS), len(RECALLS)), np.nan)
        _, *recalls = self._summed(np.ones(self._weights), float(np.spacing(1)), curves)
        return [_mean(np.moveaxis(one, 0, -1)) for one in _twelve(curves, *recalls)], [_mean(one[0]) for one in curves]

    def _summed(self, weights: NDArray[np.float64], least: float, curves: NDArray[np.float64]) -> Any:
        held = self._objects * weights[self._cell_columns]
        objects = np.zeros((self._categories, len(held)))
        for area, ones in enumerate(held):
            objects[:, area] = np.bincount(self._cell_categories, ones, self._categories)
        return _sums(self._outcomes, self._columns, self._places, self._bounds, weights, objects, RECALLS, least, curves)


def _twelve(precision: Any, recall: Any, first: Any, ten: Any) -> list[Any]:
    """What the twelve figures are means of, categories first."""
    every, sizes = precision[:, 0], range(1, precision.shape[1])
    at = [every, every[:, AT_50], every[:, AT_75], *(precision[:, area] for area in sizes)]
    return [*at, first, ten, recall[:, 0], *(recall[:, area] for area in sizes)]


def _mean(values: NDArray[np.float64]) -> float:
    """Of those that are not nan; nan without one."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


@compiled()
def _sums(
    outcomes: Any, columns: Any, places: Any, bounds: Any, weights: Any, objects: Any, recalls: Any, least: float, curves: Any
) -> Any:
    """Mean precision over `recalls`, and recall, (categories, ranges of area, IoUs); the recall of the first and of ten results a
    picture (categories, IoUs), over all areas. nan where a category has no object. `least` is added to what precision is divided
    by; `curves` (categories, ranges of area, IoUs, recalls), if any, gets precision at each point of recall."""
    areas, ious, results = outcomes.shape
    categories = len(objects)
    precision, recall = np.full((categories, areas, ious), np.nan), np.full((categories, areas, ious), np.nan)
    first, ten = np.full((categories, ious), np.nan), np.full((categories, ious), np.nan)
    recall_at, precision_at = np.empty(results), np.empty(results)  # at each hit
    for category in range(categories):
        for area in range(areas):
            wanted = objects[category, area]
            if wanted == 0:
                continue
            for iou in range(ious):
                hits, false, of_first, of_ten, count = 0.0, 0.0, 0.0, 0.0, 0
                for i in range(bounds[category], bounds[category + 1]):
                    outcome, weight = outcomes[area, iou, i], weights[columns[i]]
                    if outcome == IGNORED or weight == 0:
                        continue
                    if outcome == FALSE:
                        false += weight
                        continue
                    hits += weight
                    if places[i] < 1:
                        of_first += weight
                    if places[i] < 10:
                        of_ten += weight
                    recall_at[count], precision_at[count] = hits / wanted, hits / (false + hits + least)
                    count += 1
                # At each point of recall the greatest precision there or further on, 0 where recall does not come so far.
                total, greatest, point = 0.0, 0.0, len(recalls) - 1
                for i in range(count - 1, -1, -1):
                    while point >= 0 and recalls[point] > recall_at[i]:
                        total += greatest
                        if len(curves):
                            curves[category, area, iou, point] = greatest
                        point -= 1
                    greatest = max(greatest, precision_at[i])
                total += greatest * (point + 1)
                if len(curves):
                    curves[category, area, iou, : point + 1] = greatest
                precision[category, area, iou] = total / len(recalls)
                recall[category, area, iou] = hits / wanted
                if area == 0:
                    first[category, iou], ten[category, iou] = of_first / wanted, of_ten / wanted
    return precision, recall, first, ten
