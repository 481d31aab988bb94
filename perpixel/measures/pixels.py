"""Pixels by class: every figure from one confusion matrix (see `confusion_matrix`), summed over all pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import label_digest
from perpixel.errors import DataError
from perpixel.measures.confusion_matrix import ConfusionMatrix, class_iou, pixel_figures
from perpixel.measures.measure import Better, Figures, FiguresOf, Measure, Summary, Table, percent, weighted_sums
from perpixel.sample import Prediction, Sample


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """The confusion matrix of one picture, which is mostly 0: its flat `places` (K,) that are not, and their `counts` (K,)."""

    num_classes: int
    void: int
    places: NDArray[np.int32]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """One row of the table. `why` says for an IoU of 0 or nan what happened instead."""

    name: str
    iou: float
    dice: float
    accuracy: float
    precision: float
    pixels: int
    why: str


@dataclass(frozen=True)
class Pixels(Measure[PixelCounts]):
    """Mean IoU, pixel accuracy, mean accuracy, frequency-weighted IoU and mean Dice."""

    name: ClassVar[str] = "pixels"
    better: ClassVar[Mapping[str, Better]] = dict.fromkeys(
        ("mIoU", "pixel_accuracy", "mean_accuracy", "fwIoU", "mean_dice"), "larger"
    )

    class_means: ClassVar[frozenset[str]] = frozenset({"mIoU", "mean_accuracy", "mean_dice"})

    def count(self, truth: Sample, predicted: Prediction) -> tuple[PixelCounts, bytes]:
        digest = label_digest(truth)
        assert truth.labels is not None
        matrix = ConfusionMatrix(len(predicted.classes), predicted.classes.void)
        try:
            matrix.add(truth.labels, predicted.labels)
        except DataError as error:
            raise DataError(f"{truth.name}: {error}") from error
        cells = matrix.counts.ravel()
        places = np.flatnonzero(cells).astype(np.int32)
        return PixelCounts(matrix.num_classes, matrix.void, places, cells[places]), digest

    def figures(self, *sides: Sequence[PixelCounts]) -> FiguresOf:
        rows = [matrix_of([row]).class_counts() for side in sides for row in side]

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            sums = weighted_sums(weights, rows)
            return Figures(pixel_figures(sums), class_iou(sums))

        return figures_of

    def summary(self, rows: Sequence[PixelCounts], classes: Sequence[str], names: Sequence[str]) -> Summary:
        return summary_of(matrix_of(rows), classes)


def summary_of(matrix: ConfusionMatrix, classes: Sequence[str]) -> Summary:
    """What is said of the counts of all pictures; `classes` are names."""
    by_class, figures = class_scores(matrix, classes), matrix.figures()
    lines = [
        (row.name, *map(percent, (row.iou, row.dice, row.accuracy, row.precision)), f"{row.pixels:,}", row.why)
        for row in by_class
    ]
    return Summary(
        figures,
        {"classes": [vars(row) for row in by_class], "confusion": matrix.counts.tolist()},
        [Table(("class", "IoU", "Dice", "accuracy", "precision", "pixels", "why"), lines, range(1, 6))],
        ", ".join(f"{name} {percent(value)}" for name, value in figures.items()),
        matrix,
    )


def matrix_of(rows: Sequence[PixelCounts]) -> ConfusionMatrix:
    """The confusion matrix of some pictures, one at least."""
    matrix = ConfusionMatrix(rows[0].num_classes, rows[0].void)
    cells = matrix.counts.ravel()
    for row in rows:
        cells[row.places] += row.counts
    return matrix


def class_scores(matrix: ConfusionMatrix, names: Sequence[str]) -> list[ClassScore]:
    """Worst class first; classes without an IoU last."""
    iou, dice, accuracy, precision = matrix.iou(), matrix.dice(), matrix.accuracy(), matrix.precision()
    scores = [
        ClassScore(name, float(iou[i]), float(dice[i]), float(accuracy[i]), float(precision[i]),
                   int(matrix.counts[i].sum()), _why(matrix, i, names))
        for i, name in enumerate(names)
    ]  # fmt: skip
    return sorted(scores, key=lambda score: (math.isnan(score.iou), score.iou))


def _why(matrix: ConfusionMatrix, class_id: int, names: Sequence[str]) -> str:
    truth, predicted = int(matrix.counts[class_id].sum()), int(matrix.counts[:, class_id].sum())
    hits = int(matrix.counts[class_id, class_id])
    if 2000 * hits >= truth + predicted - hits > 0:  # an IoU that is not printed as 0.0
        return ""
    if not truth:
        return "absent from truth and prediction" if not predicted else f"absent from truth, predicted {predicted} times"
    other = int(np.argmax(matrix.counts[class_id]))
    taken = f"{100 * matrix.counts[class_id, other] / truth:.0f} % of it taken for {names[other]}"
    return f"never predicted; {taken}" if not predicted else f"confused: {taken}"
