"""upper-bound: the best mean IU that a network of a given stride can reach, as in FCN (arXiv:1411.4038, appendix A).

    bounds = upper_bound(open_dataset("street"), factors=(32, 8))    # bounds[0].mean_iou

The paper reduces the truth by a factor, enlarges it again, and judges the result, "to simulate the best results obtainable with a
particular downsampling factor". It does not give the rule. Here the truth takes the way of a network's scores. A cell of factor x
factor pixels holds the share of each class among its judged pixels. The shares are interpolated bilinearly to the picture's size,
and the greatest share wins. Void pixels have no share. A picture need not be a multiple of the factor.

There are two reasons for this rule. The networks here treat their last score map in the same way, by the same code. And of three
rules it comes nearest to the paper: on 100 pictures of COCO with VOC's classes it gives 50.7, 72.1, 85.6, 92.5, 96.8, 98.8 for
the factors 128 .. 4. The most frequent class of each cell gives 52.0, 65.7, 78.2, 86.6, 92.5, 96.1, and the class at the centre
of each cell gives less. As in the paper, the bound is approximate, because the fewest wrong pixels do not always give the
highest mean IU."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset
from perpixel.errors import DataError, UsageError
from perpixel.machines.compiled import compiled
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.prediction.score_maps import Scores

# Factor -> mean IU "on a subset of PASCAL 2011 val", the paper's table.
PAPER = {128: 0.509, 64: 0.733, 32: 0.861, 16: 0.928, 8: 0.964, 4: 0.985}
THREADS = 2


@dataclass(frozen=True)
class Bound:
    """A row of the table. Figures are in 0..1, or nan where undefined. `paper` is FCN's mean IU on VOC for this factor, if
    any."""

    factor: int
    confusion: ConfusionMatrix
    classes: ClassTable

    @property
    def mean_iou(self) -> float:
        return self.confusion.mean_iou()

    @property
    def pixel_accuracy(self) -> float:
        return self.confusion.pixel_accuracy()

    @property
    def iou(self) -> dict[str, float]:
        return dict(zip(self.classes.names, self.confusion.iou().tolist(), strict=True))

    @property
    def worst(self) -> str:
        """The class with the lowest IoU, and this IoU in percent. Empty where no class has an IoU."""
        known = {name: value for name, value in self.iou.items() if not math.isnan(value)}
        name = min(known, key=known.__getitem__, default="")
        return name and f"{name} {100 * known[name]:.1f}"

    @property
    def paper(self) -> float | None:
        return PAPER.get(self.factor)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        return {
            "factor": self.factor,
            "mean_iou": _finite(self.mean_iou),
            "pixel_accuracy": _finite(self.pixel_accuracy),
            "iou": {name: _finite(value) for name, value in self.iou.items()},
            "paper": self.paper,
        }


def upper_bound(
    dataset: Dataset, factors: Sequence[int] = tuple(PAPER), progress: Callable[[int, int], None] | None = None
) -> list[Bound]:
    """The bound of each factor over all pictures of `dataset`, in the order of `factors`.

    Every picture is read once, and memory holds two pictures. `progress` gets the numbers of finished and of all pictures.
    Raises UsageError for no factor or a factor below 1, DataError for a picture without labels."""
    if not factors or min(factors) < 1:
        raise UsageError(f"factors {list(factors)}: a cell has a side of a pixel or more; give whole numbers of at least 1.")
    totals = [_matrix(dataset) for _ in factors]
    with ThreadPoolExecutor(THREADS) as pool:  # a worker drops its picture before it takes the next
        try:
            counted_matrices = pool.map(lambda index: _count(dataset, index, factors), range(len(dataset)))
            for done, matrices in enumerate(counted_matrices, start=1):
                for total, matrix in zip(totals, matrices, strict=True):
                    total += matrix
                if progress:
                    progress(done, len(dataset))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [Bound(factor, total, dataset.classes) for factor, total in zip(factors, totals, strict=True)]


def coarsened(labels: NDArray[Any], factor: int, void: int) -> NDArray[Any]:
    """The best labels (H, W) that a network of stride `factor` can give for the truth `labels` (H, W).

    Cells tile the picture from its top left corner. Where two classes have equal shares, the lower id wins."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=void + 1))
    present = present[present != void]
    if not len(present):
        return labels
    index_of = np.full(int(labels.max()) + 1, -1, np.int32)
    index_of[present] = np.arange(len(present))
    shares = _shares(labels, index_of, factor, len(present))
    shift = (1 - factor) / (2 * factor)  # as `ScoreMap.of_cells`
    coarse: NDArray[Any] = present[Scores(shares, factor, shift, labels.shape).labels(labels.shape)]
    return coarse.astype(labels.dtype)


@compiled()
def _shares(labels: Any, index_of: Any, factor: int, classes: int) -> Any:
    """The share of each class among the judged pixels of each cell, float32 (h, w, classes); 0 in cells of void.

    `index_of` has the index of each class id in the result, or -1."""
    height, width = labels.shape
    rows, columns = -(-height // factor), -(-width // factor)
    counts = np.zeros((rows, columns, classes), np.int32)
    for y in range(height):
        for x in range(width):
            index = index_of[labels[y, x]]
            if index >= 0:
                counts[y // factor, x // factor, index] += 1
    shares = np.zeros((rows, columns, classes), np.float32)
    for y in range(rows):
        for x in range(columns):
            judged = counts[y, x].sum()
            if judged:
                for c in range(classes):
                    shares[y, x, c] = counts[y, x, c] / judged
    return shares


def _count(dataset: Dataset, index: int, factors: Sequence[int]) -> list[ConfusionMatrix]:
    sample = dataset.sample(index)
    if sample.labels is None:
        raise DataError(f"{sample.name}: has no labels to judge by; add its mask.")
    matrices = [_matrix(dataset) for _ in factors]
    try:
        for factor, matrix in zip(factors, matrices, strict=True):
            matrix.add(sample.labels, coarsened(sample.labels, factor, dataset.classes.void))
    except DataError as error:
        raise DataError(f"{sample.name}: {error}") from error
    return matrices


def _matrix(dataset: Dataset) -> ConfusionMatrix:
    return ConfusionMatrix(len(dataset.classes), dataset.classes.void)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
