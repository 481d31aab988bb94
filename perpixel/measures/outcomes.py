"""Outcomes: COCO's AP and AR of pictures that count as often as weights say. Intervals and the permutation test ask for them
thousands of times, so results are ranked once, and only summed anew.

A picture that counts twice has each of its results twice, side by side in the ranking.

A curve is precision over recall for a category, a range of area and an IoU. Whole numbers are summed along the ranking, and their
sums are the same in any order. So one sum runs through all curves, and what a curve adds to it is a difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perpixel.measures.matching import HIT, IGNORED, Matches

RECALLS = np.linspace(0, 1, 101)  # at which precision is taken
AT_50, AT_75 = 0, 5  # places in IOUS
_LEAST = float(np.spacing(1))  # cocoapi adds it to what precision is divided by


class Curves(NamedTuple):
    """`precision` at each point of recall (ranges of area, IoUs, recalls, categories), and the greatest `recall` (ranges of area,
    IoUs, categories). Over all areas the recall of the `first` result and of the first `ten` of each picture (IoUs, categories).
    All are `known` where there are objects (ranges of area, categories)."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    first: NDArray[np.float64]
    ten: NDArray[np.float64]
    known: NDArray[np.bool_]


class Outcomes:
    """What became of every result, by range of area (all, small, medium, large) and IoU, ranked in its category.

    `matches` are of the same N pictures and C categories, from one list of results or several. A column is a picture with the
    results of a list: k * N + i is picture i with those of list k."""

    def __init__(self, matches: Sequence[Matches], pictures: int, categories: int) -> None:
        of_results = [(one.categories, one.pictures, one.pictures + place * pictures, one.places, one.scores)
                      for place, one in enumerate(matches)]  # fmt: skip
        category, picture, column, place, score = (np.concatenate(part) for part in zip(*of_results, strict=True))
        ties = (place, picture) if len(matches) > 1 else ()  # a list by itself is in their order already
        order = np.lexsort((*ties, -score, category))
        outcomes = np.take(np.concatenate([one.outcomes for one in matches], 2), order, 2)
        bounds = np.searchsorted(category[order], np.arange(categories + 1))  # of each category in what follows
        self._columns, self._num_columns = column[order], pictures * len(matches)
        self._shape = areas, ious, results = outcomes.shape

        cell_categories = np.concatenate([one.cell_categories for one in matches])
        cell_columns = np.concatenate([one.cell_pictures + place * pictures for place, one in enumerate(matches)])
        cells = np.argsort(cell_categories, kind="stable")
        self._objects, self._cell_columns = np.concatenate([one.objects for one in matches], 1)[:, cells], cell_columns[cells]
        self._cell_bounds = np.searchsorted(cell_categories[cells], np.arange(categories + 1))

        hits, self._hit_bounds = _where(outcomes == HIT, bounds)
        self._hits = hits % max(results, 1)  # their places in the ranking
        places = place[order][self._hits[: self._hit_bounds[ious * categories]]]  # over all areas
        self._early = [places < most for most in (1, 10)]  # hits among the first result, and the first ten, of a picture

        # The results that count, hit or false, are nearly the same at all IoUs. Those of the last IoU are summed, and what
        # changes at the other IoUs.
        counts = outcomes != IGNORED
        self._counts = counts[:, -1].copy()
        changes, self._change_bounds = _where(counts != self._counts[:, None], bounds)
        self._changes = changes % max(results, 1)
        self._signs = np.where(self._counts[changes // max(ious * results, 1), self._changes], -1, 1)

        # Of hits with nothing false between them the last has the greatest precision and recall. No other needs to be looked at.
        is_hit = outcomes[counts] == HIT
        is_last = np.diff(is_hit, append=False)[is_hit]
        is_last[self._hit_bounds[self._hit_bounds > 0] - 1] = True
        last = np.flatnonzero(is_last)
        curves = np.repeat(np.arange(areas * ious * categories), np.diff(np.searchsorted(last, self._hit_bounds)))
        lanes, of_category = np.divmod(curves, max(categories, 1))
        self._curves, self._at_recall_0 = curves, lanes * len(RECALLS) * categories + of_category
        # Where the sums of hits, of results that count and of changes stand: at the last hits, and where curves begin.
        rows = np.arange(areas) * (results + 1)
        self._hits_at, self._changes_at = last + 1, np.searchsorted(changes, hits[last], "right")
        self._counts_at = rows[lanes // ious] + self._hits[last] + 1
        self._counts_before = np.broadcast_to(rows[:, None, None] + bounds[:-1], (areas, ious, categories)).ravel()

    def figures(self, weights: NDArray[np.integer[Any]]) -> list[float]:
        """The twelve figures in COCO's order, where each column counts as often as `weights` (columns,) say; nan where no object
        does."""
        return _twelve(self._summed(weights))

    def official(self) -> tuple[list[float], list[float]]:
        """The twelve figures of all pictures, and AP of each category, to the last digit those of cocoapi."""
        curves = self._summed(np.ones(self._num_columns, np.int64))
        of_categories = np.moveaxis(curves.precision[0], -1, 0)[..., None]
        by_category = [_mean(one, known) for one, known in zip(of_categories, curves.known[0, :, None], strict=True)]
        return _twelve(curves), by_category

    def _summed(self, weights: NDArray[np.integer[Any]]) -> Curves:
        (areas, ious, _), categories = self._shape, len(self._cell_bounds) - 1
        weights = weights.astype(np.int64, casting="same_kind")
        objects = np.diff(_sums(self._objects * weights[self._cell_columns])[:, self._cell_bounds])
        wanted = np.repeat(np.maximum(objects, 1), ious, 0).ravel()  # of each curve; without objects there are no hits
        of_results = weights[self._columns]
        of_hits = of_results[self._hits]
        hits, counts = _sums(of_hits), _sums(of_results * self._counts).ravel()
        changes = _sums(of_results[self._changes] * self._signs)

        before = counts[self._counts_before] + changes[self._change_bounds[:-1]]
        true = hits[self._hits_at] - hits[self._hit_bounds[:-1]][self._curves]
        true_and_false = counts[self._counts_at] + changes[self._changes_at] - before[self._curves]
        recall, precision = true / wanted[self._curves], true / (true_and_false + _LEAST)
        point = (recall * (len(RECALLS) - 1) + 1e-9).astype(np.int64)  # the last point of recall that is reached, or the next
        point -= RECALLS[point] > recall
        curves = np.zeros((areas * ious, len(RECALLS), categories))
        np.maximum.at(curves.reshape(-1), self._at_recall_0 + point * categories, precision)
        for later in range(len(RECALLS) - 1, 0, -1):  # at each point of recall the greatest precision there or further on
            np.maximum(curves[:, later - 1], curves[:, later], out=curves[:, later - 1])

        over_all = self._hit_bounds[: ious * categories + 1]
        first, ten = (np.diff(_sums(of_hits[: len(early)] * early)[over_all]) for early in self._early)
        first, ten = ((hits / wanted[: ious * categories]).reshape(ious, categories) for hits in (first, ten))
        greatest = (np.diff(hits[self._hit_bounds]) / wanted).reshape(areas, ious, categories)
        return Curves(curves.reshape(areas, ious, len(RECALLS), categories), greatest, first, ten, objects > 0)


def _where(held: NDArray[np.bool_], bounds: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places, counted through, at which `held` (ranges of area, IoUs, results) is true; and between which of them each curve
    lies. Category i has the results from `bounds[i]` to `bounds[i + 1]`."""
    areas, ious, results = held.shape
    places = np.flatnonzero(held)
    starts = np.arange(areas * ious)[:, None] * results + bounds[:-1]
    return places, np.append(np.searchsorted(places, starts), len(places))


def _sums(values: NDArray[Any]) -> NDArray[np.int64]:
    """The sums of the values before each place, and of all, along the last axis."""
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1), np.int64)
    np.cumsum(values, -1, out=sums[..., 1:])
    return sums


def _twelve(curves: Curves) -> list[float]:
    precision, recall, known = curves.precision, curves.recall, curves.known
    every, sizes = known[0], range(1, len(known))
    return [
        _mean(precision[0], every), _mean(precision[0, AT_50], every), _mean(precision[0, AT_75], every),
        *(_mean(precision[size], known[size]) for size in sizes),
        _mean(curves.first, every), _mean(curves.ten, every), _mean(recall[0], every),
        *(_mean(recall[size], known[size]) for size in sizes),
    ]  # fmt: skip


def _mean(values: NDArray[np.float64], known: NDArray[np.bool_]) -> float:
    """Over the categories, the last axis, that are known, added in the order of IoUs, recalls and categories as cocoapi does; nan
    without one."""
    return float(np.compress(known, values, -1).ravel().mean()) if known.any() else float("nan")
