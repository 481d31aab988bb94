"""How sure a score is: percentile intervals of the bootstrap over pictures.

A bootstrap sample draws N of the N pictures with replacement; every figure is made of its summed counts, and the interval of a
figure at level 1 - a lies between the quantiles a / 2 and 1 - a / 2 of its values over R samples (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, sections 6.2 and 13.3). Pictures are what is drawn because pixels of one are no independent
witnesses; where pictures come from few drives or films, the interval is still too narrow. It says nothing of training's chance.

Nothing is kept of a picture: how often each sample holds it is drawn when it is judged, w_1 .. w_N being multinomial, that is w_i
binomial with the n - w_1 - .. - w_(i-1) draws left and chance 1 / (N - i + 1). Memory is R times the width of the counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import UsageError
from perpixel.terminal import percent, print_table, show

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


class Replicates:
    """The counts of R bootstrap samples, `sums` (R, width) of `dtype`, fed picture by picture."""

    def __init__(self, num_pictures: int, width: int, replicates: int, seed: int, dtype: type[np.number[Any]] = np.int64) -> None:
        self.draws = Draws(num_pictures, replicates, seed)
        self.num_pictures, self.seed = num_pictures, seed
        self.sums: NDArray[Any] = np.zeros((replicates, width), dtype)

    def add(self, index: int, counts: NDArray[Any]) -> None:
        """Adds the counts (width,) of the picture `index`; pictures come in ascending order, and some may be left out."""
        held = np.flatnonzero(counts)
        self.sums[:, held] += self.draws.of(index)[:, None] * counts[held]


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
    draws = Draws(num_pictures, replicates, seed)
    return np.array([draws.of(index) for index in range(num_pictures)], np.int64).reshape(num_pictures, replicates).T


def class_counts(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """(3 C,) hits, truth and predicted pixels of each class from a confusion matrix (C, C): all that figures need."""
    return np.concatenate([np.diag(confusion), confusion.sum(1), confusion.sum(0)])


def intervals(replicates: Replicates, names: Sequence[str]) -> Intervals:
    """The intervals of every figure of pixels; `replicates` holds `class_counts` of the classes `names`."""
    figures = {name: interval(values) for name, values in pixel_figures(replicates.sums).items()}
    iou = {name: interval(values) for name, values in zip(names, class_iou(replicates.sums).T, strict=True)}
    return Intervals(figures, iou, replicates.num_pictures, len(replicates.sums), replicates.seed)


def of_figures(values: Sequence[Mapping[str, float]], num_pictures: int, seed: int) -> Intervals:
    """The intervals of figures by name, from those of each of R samples; nan where a sample has none."""
    return Intervals({name: interval(drawn) for name, drawn in columns(values).items()}, {}, num_pictures, len(values), seed)


def columns(values: Iterable[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Figures by name, (R,) each, from those of each of R samples."""
    rows = list(values)
    return {name: np.array([one[name] for one in rows]) for name in rows[0]}


def interval(values: NDArray[np.float64]) -> Interval:
    """The interval of a figure from its values (R,), nan where it is undefined."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan, len(values))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    error = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Interval(float(low), float(high), error, len(values) - len(known))


def pixel_figures(sums: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """The figures of `Scores` for each of `sums` (R, 3 C), (R,) each: `ConfusionMatrix` says what they are."""
    hits, truth, predicted = np.split(sums, 3, axis=1)
    iou, pixels = class_iou(sums), truth.sum(1)
    return {
        "mIoU": _mean(iou),
        "pixel_accuracy": _ratio(hits.sum(1), pixels),
        "mean_accuracy": _mean(_ratio(hits, truth)),
        "fwIoU": np.where(pixels > 0, np.nansum(_ratio(truth, pixels[:, None]) * iou, 1), np.nan),
        "mean_dice": _mean(_ratio(2 * hits, truth + predicted)),
    }


def class_iou(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R, C); nan where a sample has a class in neither truth nor prediction."""
    hits, truth, predicted = np.split(sums, 3, axis=1)
    return _ratio(hits, truth + predicted - hits)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    part, whole = np.broadcast_arrays(part, whole)
    found = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes that are not nan."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0).sum(1), known.sum(1)
    found = np.full(len(values), np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found


def _plain(one: Interval) -> dict[str, float | int | None]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in vars(one).items()}


COUNTED = ("true_objects", "predicted_objects", "splits", "merges")  # figures that are numbers of objects, no shares


def print_intervals(found: Intervals | None, shown: Callable[[float], str] | None = None) -> None:
    """A row per figure if there are intervals; `shown` writes a value, else it is percent, and objects are counts."""
    if found is None:
        return
    drawn = f"bootstrap of {found.replicates} samples of {found.num_pictures} pictures, seed {found.seed}"
    show()
    show(f"{100 * LEVEL:.0f} % intervals, {drawn}:")
    rows: list[tuple[str, ...]] = []
    for name, one in [*found.figures.items(), *((f"IoU of {name}", one) for name, one in found.iou.items())]:
        write = (lambda value: f"{value:.1f}") if name in COUNTED else shown or percent
        rows.append((name, *map(write, (one.low, one.high, one.standard_error))))
    print_table(("figure", "from", "to", "standard error"), rows)
