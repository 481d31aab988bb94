"""How sure a score is: percentile intervals of the bootstrap over pictures.

A bootstrap sample draws N of the N pictures with replacement; every figure is made of its summed counts, and the interval of a
figure at level 1 - a lies between the quantiles a / 2 and 1 - a / 2 of its values over R samples (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, sections 6.2 and 13.3). Pictures are what is drawn because pixels of one are no independent
witnesses; where pictures come from few drives or films, the interval is still too narrow. It says nothing of training's chance.

How often each sample holds a picture is drawn picture by picture, w_1 .. w_N being multinomial, that is w_i binomial with the
n - w_1 - .. - w_(i-1) draws left and chance 1 / (N - i + 1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import UsageError
from perpixel.measures.measure import Figures, FiguresOf, Measure, shown
from perpixel.terminal import print_table, show

LEVEL = 0.95


class Draws:
    """How often each of R bootstrap samples of N pictures holds a picture; pictures are asked for in ascending order.

    The answers depend on N, R and `seed` alone, so processes that judge different pictures draw the same samples.
    Raises UsageError for fewer than 2 samples or a seed below 0."""

    def __init__(self, num_pictures: int, replicates: int, seed: int) -> None:
        if replicates < 2 or seed < 0:
            raise UsageError(f"bootstrap of {replicates} samples, seed {seed}: give 2 samples or more, and a seed of 0 or more.")
        self._random = np.random.default_rng(seed)
        self._open = np.full(replicates, num_pictures, np.int64)  # draws not yet given to a picture
        self._num_pictures, self._next = num_pictures, 0

    def of(self, index: int) -> NDArray[np.int64]:
        """(R,) for the picture `index`, from 0."""
        assert self._next <= index < self._num_pictures, "pictures are asked for in ascending order"
        while self._next <= index:
            weights = self._random.binomial(self._open, 1 / (self._num_pictures - self._next))
            self._open -= weights
            self._next += 1
        return weights


@dataclass(frozen=True)
class Interval:
    """A percentile interval, the figure's standard error, and how many samples were left out because it is undefined there."""

    low: float
    high: float
    standard_error: float
    undefined: int


@dataclass(frozen=True)
class Intervals:
    """Intervals of the figures by name, and of each class's IoU by the class's name."""

    figures: Mapping[str, Interval]
    iou: Mapping[str, Interval]
    num_pictures: int
    replicates: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        return {
            "pictures": self.num_pictures, "replicates": self.replicates, "seed": self.seed, "level": LEVEL,
            "figures": {name: _plain(one) for name, one in self.figures.items()},
            "iou": {name: _plain(one) for name, one in self.iou.items()},
        }  # fmt: skip


def weights_of(num_pictures: int, replicates: int, seed: int) -> NDArray[np.int64]:
    """(R, N) how often each sample holds each picture, for scores that keep their pictures anyway."""
    draws, weights = Draws(num_pictures, replicates, seed), np.empty((num_pictures, replicates), np.int64)
    for index in range(num_pictures):
        weights[index] = draws.of(index)
    return weights.T


def intervals_of(
    measure: Measure[Any],
    rows: Sequence[Any],
    classes: Sequence[str],
    replicates: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Intervals:
    """The intervals of every figure of the measure from the rows of all pictures. `progress` is told how many samples are drawn,
    where they are drawn one by one."""
    figures = drawn(measure, measure.figures(rows), weights_of(len(rows), replicates, seed), progress)
    iou = {} if figures.classes is None else dict(zip(classes, map(interval, figures.classes.T), strict=True))
    by_name = {name: interval(values) for name, values in figures.overall.items()}
    return Intervals(by_name, iou, len(rows), replicates, seed)


def drawn(
    measure: Measure[Any],
    figures_of: FiguresOf,
    weights: NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> Figures:
    """The figures of all samples, as many at a time as the measure takes at once."""
    if measure.at_once is None:
        return figures_of(weights)
    parts = []
    for first in range(0, len(weights), measure.at_once):
        parts.append(figures_of(weights[first : first + measure.at_once]))
        if progress is not None:
            progress(min(first + measure.at_once, len(weights)), len(weights))
    names = parts[0].overall
    return Figures({name: np.concatenate([part.overall[name] for part in parts]) for name in names})


def interval(values: NDArray[np.float64]) -> Interval:
    """The interval of a figure from its values (R,), nan where it is undefined."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan, len(values))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    error = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Interval(float(low), float(high), error, len(values) - len(known))


def _plain(one: Interval) -> dict[str, float | int | None]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in vars(one).items()}


def print_intervals(intervals: Intervals | None, measure: Measure[Any]) -> None:
    """A row per figure if there are intervals."""
    if intervals is None:
        return
    samples = f"bootstrap of {intervals.replicates} samples of {intervals.num_pictures} pictures, seed {intervals.seed}"
    show()
    show(f"{100 * LEVEL:.0f} % intervals, {samples}:")
    rows: list[tuple[str, ...]] = []
    for name, one in [*intervals.figures.items(), *((f"IoU of {name}", one) for name, one in intervals.iou.items())]:
        rows.append((name, *(shown(measure, name, value) for value in (one.low, one.high, one.standard_error))))
    print_table(("figure", "from", "to", "standard error"), rows)
