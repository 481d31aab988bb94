"""Outcomes: COCO's AP and AR of pictures that count as often as weights say. The bootstrap and the permutation test ask for them
thousands of times, so results are ranked once, and only summed anew.

A picture that counts twice has each of its results twice, side by side in the ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.compiled import compiled

_IGNORED, _HIT, _FALSE = 0, 1, 2


class Outcomes:
    """What became of every result, by range of area (all, small, medium, large) and IoU, ranked in its category.

    `matches` (categories, ranges of area, columns) are faster-coco-eval's for N `pictures`, from one list of results or several:
    column i is of picture i modulo N. `ious` are the values of IoU, `recalls` the points at which precision is taken."""

    def __init__(self, matches: NDArray[Any], pictures: int, ious: NDArray[np.float64], recalls: NDArray[np.float64]) -> None:
        categories, areas, columns = matches.shape
        self._at_50, self._at_75 = (int(np.flatnonzero(np.isclose(ious, value))[0]) for value in (0.5, 0.75))
        self._recalls = np.asarray(recalls, np.float64)
        self._objects = np.zeros((categories, areas, columns))
        whose, places, outcomes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((areas, len(ious), 0), np.uint8)]
        self._bounds = np.zeros(categories + 1, np.int64)  # of each category in those
        for category in range(categories):
            ranked = [np.zeros((4, 0))]  # score, picture, column, place in it
            became = [np.zeros((areas, len(ious), 0), np.uint8)]
            for column in range(columns):
                # As it pickles them: true objects of the results, by IoU; results of the objects; scores, best first; which
                # objects are ignored, and which results, by IoU.
                of_areas = [one.__getstate__() for one in matches[category, :, column]]
                self._objects[category, :, column] = [state[3].count(False) for state in of_areas]
                scores = of_areas[0][2]
                if scores:
                    shape = areas, len(ious), len(scores)
                    hit, ignored = (np.array([state[part] for state in of_areas]).reshape(shape) != 0 for part in (0, 4))
                    became.append(np.where(ignored, _IGNORED, np.where(hit, _HIT, _FALSE)).astype(np.uint8))
                    place = np.arange(len(scores))
                    ranked.append(np.stack([np.array(scores), np.full_like(place, column % pictures),
                                            np.full_like(place, column), place]))  # fmt: skip
            score, picture, column_of, place_of = np.concatenate(ranked, 1)
            order = np.lexsort((place_of, picture, -score))
            whose.append(column_of[order].astype(np.int64))
            places.append(place_of[order].astype(np.int64))
            outcomes.append(np.concatenate(became, 2)[:, :, order])
            self._bounds[category + 1] = self._bounds[category] + len(order)
        self._columns, self._places = np.concatenate(whose), np.concatenate(places)
        self._outcomes = np.concatenate(outcomes, 2)

    def figures(self, weights: NDArray[Any]) -> list[float]:
        """The twelve figures in COCO's order, where each column counts as often as `weights` (columns,) say; nan where no object
        does."""
        counts = weights.astype(np.float64)
        precision, recall, first, ten = _sums(
            self._outcomes, self._columns, self._places, self._bounds, counts, self._objects @ counts, self._recalls
        )
        every, sizes = precision[:, 0], range(1, precision.shape[1])
        at = [every, every[:, self._at_50], every[:, self._at_75], *(precision[:, area] for area in sizes)]
        return [_mean(one) for one in (*at, first, ten, recall[:, 0], *(recall[:, area] for area in sizes))]


def _mean(values: NDArray[np.float64]) -> float:
    """Of those that are not nan; nan without one."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


@compiled()
def _sums(outcomes: Any, columns: Any, places: Any, bounds: Any, weights: Any, objects: Any, recalls: Any) -> Any:
    """Mean precision over `recalls`, and recall, (categories, ranges of area, IoUs); the recall of the first and of ten results a
    picture (categories, IoUs), over all areas. nan where a category has no object."""
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
                    if outcome == _IGNORED or weight == 0:
                        continue
                    if outcome == _FALSE:
                        false += weight
                        continue
                    hits += weight
                    if places[i] < 1:
                        of_first += weight
                    if places[i] < 10:
                        of_ten += weight
                    recall_at[count], precision_at[count] = hits / wanted, hits / (hits + false)
                    count += 1
                # At each point of recall the greatest precision there or further on, 0 where recall does not come so far.
                total, greatest, point = 0.0, 0.0, len(recalls) - 1
                for i in range(count - 1, -1, -1):
                    while point >= 0 and recalls[point] > recall_at[i]:
                        total += greatest
                        point -= 1
                    greatest = max(greatest, precision_at[i])
                total += greatest * (point + 1)
                precision[category, area, iou] = total / len(recalls)
                recall[category, area, iou] = hits / wanted
                if area == 0:
                    first[category, iou], ten[category, iou] = of_first / wanted, of_ten / wanted
    return precision, recall, first, ten
