"""The figures that claims are about, of the pictures of a split, and how a difference of two arms is judged.

    differences   of each seed: the figure of one arm minus that of the other
    interval      Student's for 95 %, over seeds
    p             a permutation test over pictures: if two arms were alike, exchanging their answers to a picture, in all seeds at
                  once, would change nothing. In R exchanges E give a mean difference as great as the one found, in either
                  direction; p = (E + 1) / (R + 1), then Holm's correction over all claims of a run.

The interval knows the chance of training and not that of the pictures, the test the other. A claim is shown where both say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import Dataset, things_in, with_objects
from perpixel.judging.compare import TINY
from perpixel.judging.intervals import drawn
from perpixel.measures import class_of
from perpixel.measures.measure import Measure, mean_of_known, ratio
from perpixel.studies.seeds import CHANCE, half_interval

RARE, MERGED = "IoU of rare classes", "merged objects"
LOOKED_AT = 20  # pictures
RARE_SHARE = 0.02  # of the judged pixels; a class with fewer is rare
LEAST_SEEDS = 3


@dataclass(frozen=True)
class FigureOf:
    """A figure in 0..1 by its `key` in the figures of a measure; whether a larger one is better; `exchanges` of the permutation
    test, fewer where one takes long."""

    measure: Callable[[Dataset], Measure[Any]]
    key: str
    larger: bool = True
    exchanges: int = 4000


def _measure(name: str, **settings: Any) -> Callable[[Dataset], Measure[Any]]:
    return lambda _: class_of(name)(**settings)


def _objects(dataset: Dataset) -> Measure[Any]:
    """Of the first class whose objects are told apart."""
    things = things_in(dataset.classes) or frozenset()
    measure: Measure[Any] = class_of("objects")(dataset.classes.names[min(things, default=len(dataset.classes) - 1)])
    return measure


FIGURES: Mapping[str, FigureOf] = {
    "mIoU": FigureOf(_measure("pixels"), "mIoU"),
    RARE: FigureOf(_measure("pixels"), RARE),
    "boundary IoU": FigureOf(_measure("boundary_iou"), "boundary_mIoU"),
    "AP": FigureOf(_measure("instances"), "AP", exchanges=2000),
    "AP75": FigureOf(_measure("instances"), "AP75", exchanges=2000),
    "AR of 100 proposals": FigureOf(_measure("instances", agnostic=True), "AR_100", exchanges=2000),
    MERGED: FigureOf(_objects, MERGED, larger=False),
}


@dataclass(frozen=True)
class Difference:
    """Of a figure between two arms: that of each seed, the figures of both arms by seed, and p without a correction."""

    by_seed: tuple[float, ...]
    better: tuple[float, ...]
    worse: tuple[float, ...]
    p_value: float

    @property
    def mean(self) -> float:
        return mean(self.by_seed)

    @property
    def half(self) -> float:
        """Half of Student's 95 % interval of the mean; nan for one seed."""
        return half_interval(self.by_seed)

    def verdict(self, p_value: float, larger: bool) -> str:
        """`p_value` after the correction. Fewer than three seeds show nothing."""
        certain = len(self.by_seed) >= LEAST_SEEDS and abs(self.mean) > self.half and p_value < CHANCE
        return ("shown" if (self.mean > 0) == larger else "opposite") if certain else "not shown"


Rows = Sequence[Any]  # of the pictures, as a measure counts them


def difference(
    figure: FigureOf, measure: Measure[Any], pairs: Sequence[tuple[Rows, Rows]], than: Sequence[tuple[Rows, Rows]] = (),
    rare: Sequence[int] = (), exchanges: int | None = None,
) -> Difference:  # fmt: skip
    """Of the rows of two arms, a pair for each seed; with `than`, minus the difference of two other arms with the same seed.

    `rare` are the ids of rare classes. `exchanges` are by default those of the figure; with 0 p is 1."""
    swap = _swaps(len(pairs[0][0]), figure.exchanges if exchanges is None else exchanges)
    exchanged, better, worse = [], [], []
    for place, pair in enumerate(pairs):
        one, other = _exchanged(figure, measure, pair, swap, rare)
        turned = one - other
        if than:
            first, second = _exchanged(figure, measure, than[place], swap, rare)
            turned = turned - (first - second)
            one, other = one - other, first - second
        exchanged.append(turned)
        better.append(float(one[0]))
        worse.append(float(other[0]))
    means = np.mean(exchanged, 0)
    as_great = int((~(np.abs(means[1:]) < abs(means[0]) - TINY)).sum())  # what is undefined counts as great
    p_value = math.nan if math.isnan(means[0]) else (as_great + 1) / len(means)
    return Difference(tuple(float(turned[0]) for turned in exchanged), tuple(better), tuple(worse), p_value)


def _swaps(pictures: int, exchanges: int) -> NDArray[np.int64]:
    """(1 + R, N) of 0 and 1: whether an exchange turns a picture round; the first turns none."""
    swap = np.random.default_rng(0).integers(0, 2, (1 + exchanges, pictures), np.int64)
    swap[0] = 0
    return swap


def _exchanged(
    figure: FigureOf, measure: Measure[Any], pair: tuple[Rows, Rows], swap: NDArray[np.int64], rare: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The figure of both sides after each exchange, (1 + R,) each."""
    figures_of = measure.figures(*pair)
    sides = []
    for weights in ((1 - swap, swap), (swap, 1 - swap)):
        made = drawn(measure, figures_of, np.concatenate(weights, 1))
        if figure.key == RARE:
            assert made.classes is not None, "pixels are counted by class"
            sides.append(mean_of_known(made.classes[:, list(rare)]))
        elif figure.key == MERGED:  # predicted objects that hold several, by true objects
            sides.append(ratio(made.overall["merges"], made.overall["true_objects"] * weights[0].shape[1]))
        else:
            sides.append(made.overall[figure.key])
    return sides[0], sides[1]


def rare_classes(dataset: Dataset) -> tuple[int, ...]:
    """The ids of the classes that have some, but less than `RARE_SHARE` of the judged pixels of a split."""
    counts = np.zeros(len(dataset.classes), np.int64)
    for index in range(len(dataset)):
        labels = dataset.sample(index).labels
        assert labels is not None, "masks are judged"
        counts += np.bincount(labels[labels != dataset.classes.void], minlength=len(counts))
    shares = counts / max(1, counts.sum())
    return tuple(int(place) for place in np.flatnonzero((shares > 0) & (shares < RARE_SHARE)))


def has_objects(dataset: Dataset) -> bool:
    """Whether the objects of one of the first pictures are told apart."""
    view = with_objects(dataset)
    held = (view.sample(index).instances for index in range(min(len(view), LOOKED_AT)))
    return any(objects is not None and len(objects.class_ids) for objects in held)
