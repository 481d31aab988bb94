"""Several trainings of one system, each from another seed: their mean, its interval, and whether two systems differ.

Two things vary: what a training ends with, and the pictures that judge it. A difference is shown where both tests say so: the
interval of Student's t over the differences between equal seeds leaves out 0, and pictures, exchanged between the two systems
with the answers of all seeds to them, make a difference as great too seldom (see `judging.compare`). Of one seed only the second
is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.judging.compare import TINY, coins
from perpixel.judging.comparison import holm
from perpixel.judging.intervals import LEVEL, drawn
from perpixel.measures.pixels import PixelCounts, Pixels

EXCHANGES = 10_000
CHANCE = 1 - LEVEL
Known = dict[tuple[str, str, int], float]  # p of two systems, by their names and the number of seeds


@dataclass(frozen=True)
class Mean:
    """The mean of a figure over seeds, and half of its 95 % interval (Student's t), nan for one seed."""

    mean: float
    half: float
    by_seed: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        return cls(statistics.fmean(values), half_interval(values), tuple(values))


@dataclass(frozen=True)
class Difference:
    """`first` minus `second` in mIoU. `p` is that of the exchanged pictures after Holm's correction for all pairs."""

    first: str
    second: str
    mean: Mean
    p: float

    @property
    def shown(self) -> bool:
        """Whether the difference is more than chance, of these pictures and, where there are several, of these seeds."""
        return self.p < CHANCE and not abs(self.mean.mean) <= self.mean.half

    def to_json(self) -> dict[str, Any]:
        return {
            "a": self.first, "b": self.second, "difference": self.mean.mean, "by_seed": list(self.mean.by_seed),
            "interval": None if math.isnan(self.mean.half) else self.mean.half, "p": self.p, "shown": self.shown,
        }  # fmt: skip


def half_interval(values: Sequence[float]) -> float:
    """Half of Student's 95 % interval of the mean; nan for fewer than two values."""
    from scipy.special import stdtrit

    if len(values) < 2:
        return math.nan
    quantile = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def differences(
    counts: Mapping[str, Sequence[NDArray[np.int64]]], void: int = 255, exchanges: int = EXCHANGES, known: Known | None = None
) -> list[Difference]:
    """Every two systems, in the order in which they are named. `counts` has for each system one array (N, C, C) a seed: the
    confusion matrix of each of the same N pictures. Tests that are in `known` are not made again; others are added."""
    known = {} if known is None else known
    rows = {name: [rows_of(one, void) for one in by_seed] for name, by_seed in counts.items()}
    figures = {name: [mean_iou(one.sum(0), void) for one in by_seed] for name, by_seed in counts.items()}
    pairs = list(combinations(counts, 2))
    for first, second in pairs:
        key = first, second, len(counts[first])
        if key not in known:
            known[key] = by_chance(rows[first], rows[second], exchanges)
    corrected = holm([known[first, second, len(counts[first])] for first, second in pairs])
    return [
        Difference(first, second, Mean.of([a - b for a, b in zip(figures[first], figures[second], strict=True)]), p)
        for (first, second), p in zip(pairs, corrected, strict=True)
    ]


def by_chance(
    first: Sequence[Sequence[PixelCounts]], second: Sequence[Sequence[PixelCounts]], exchanges: int = EXCHANGES, seed: int = 0
) -> float:
    """p of the permutation test that the mIoU of two systems on the same pictures differs, in the mean over seeds: a picture is
    exchanged with the answers of all seeds to it."""
    measure, pictures = Pixels(), len(first[0])
    swap = np.array([*islice(coins(exchanges, seed), pictures)], np.int64).T
    swap = np.concatenate([np.zeros((1, pictures), np.int64), swap])  # the first exchange turns no picture
    sides = [np.concatenate(side, 1) for side in ((1 - swap, swap), (swap, 1 - swap))]
    changes = []
    for one, other in zip(first, second, strict=True):
        figures_of = measure.figures(one, other)
        kept, turned = (drawn(measure, figures_of, side).overall["mIoU"] for side in sides)
        changes.append(kept - turned)
    means = np.mean(changes, 0)
    return float((np.abs(means) >= abs(means[0]) - TINY).mean())


def mean_iou(counts: NDArray[np.int64], void: int = 255) -> float:
    """Of one confusion matrix (C, C)."""
    figures = Pixels().figures(rows_of(counts[None], void))(np.ones((1, 1), np.int64))
    return float(figures.overall["mIoU"][0])


def rows_of(counts: NDArray[np.int64], void: int = 255) -> list[PixelCounts]:
    """The rows of the measure of pixels from confusion matrices (N, C, C)."""
    flat = counts.reshape(len(counts), -1)
    places = [np.flatnonzero(row).astype(np.int32) for row in flat]
    return [PixelCounts(counts.shape[1], void, place, row[place]) for place, row in zip(places, flat, strict=True)]
