"""Calibration: is a class that is predicted with probability 0.8 right in 80 % of pixels?

    ECE   = sum over bins of |accuracy - confidence| x share of the pixels          (Guo et al., ICML 2017, equation 3)
    Brier = mean over pixels of the sum over classes of (p - y)^2                   (Brier, Monthly Weather Review 78, 1950)

Confidence is the probability of the predicted class, in 15 equal bins of 0..1 as in Guo et al. The ECE of a class bins the
probability of that class in every pixel, and their mean is the classwise ECE (Kull et al., NeurIPS 2019). Void pixels are left
out. Of masks nothing can be said: they hold no probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import label_digest
from perpixel.errors import DataError, UsageError
from perpixel.measures.measure import Better, Figures, FiguresOf, Measure, Needs, Summary, Table, percent, ratio, weighted_sums
from perpixel.sample import Prediction, Sample

BINS = 15
COUNTED = 3  # of a bin: pixels, sum of probabilities, hits


@dataclass(frozen=True)
class Calibration(Measure[NDArray[np.float64]]):
    """ECE, classwise ECE and Brier score of probabilities.

    A row is `bin_counts`. Raises UsageError for fewer than one bin."""

    bins: int = BINS

    name: ClassVar[str] = "calibration"
    entry: ClassVar[str] = "calibration"
    rules: ClassVar[Mapping[str, str]] = {
        "ECE": "|accuracy - mean confidence| of the predicted class in equal bins of 0..1, weighted by pixels",
        "classwise_ECE": "the same of the probability of each class in all pixels; mean over classes",
        "Brier": "sum over classes of (probability - truth)^2, mean over pixels",
        "calibration_void": "void pixels of the truth are left out",
    }
    needs: ClassVar[Needs] = "scores"
    # A constant prediction of how frequent classes are has no calibration error, so Brier's score says more.
    better: ClassVar[Mapping[str, Better]] = dict.fromkeys(("Brier", "ECE", "classwise_ECE"), "smaller")
    decimals: ClassVar[Mapping[str, int]] = {"": 4}
    amounts: ClassVar[frozenset[str]] = frozenset({"Brier"})  # 2 at most

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise UsageError(f"bins = {self.bins}: give 1 or more, as {BINS}.")

    def count(self, truth: Sample, predicted: Prediction) -> tuple[NDArray[np.float64], bytes]:
        assert predicted.scores is not None, "what is judged provides what the measure needs"
        digest = label_digest(truth)
        assert truth.labels is not None
        if predicted.scores.shape[1:] != truth.labels.shape:
            raise DataError(
                f"{truth.name}: the truth has the shape {truth.labels.shape}, the probabilities {predicted.scores.shape[1:]}; "
                "judge at the truth's size."
            )
        return bin_counts(truth.labels, predicted.scores, predicted.classes.void, self.bins), digest

    def figures(self, *sides: Sequence[NDArray[np.float64]]) -> FiguresOf:
        rows = [row for side in sides for row in side]

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            sums = weighted_sums(weights, rows, np.float64)
            counts, squares = sums[:, :-1].reshape(len(weights), -1, self.bins, COUNTED), sums[:, -1]
            errors = ratio(calibration_errors(counts), counts[..., 0].sum(2))  # (R, 1 + C)
            brier = ratio(squares, counts[:, 0, :, 0].sum(1))
            return Figures({"ECE": errors[:, 0], "classwise_ECE": errors[:, 1:].mean(1), "Brier": brier})

        return figures_of

    def summary(self, rows: Sequence[NDArray[np.float64]], classes: Sequence[str], names: Sequence[str]) -> Summary:
        drawn = self.figures(rows)(np.ones((1, len(rows)), np.int64)).overall
        figures = {name: float(values[0]) for name, values in drawn.items()}
        counts = np.sum(rows, 0)[:-1].reshape(-1, self.bins, COUNTED)
        errors = ratio(calibration_errors(counts[None])[0], counts[..., 0].sum(1))
        by_class = sorted(zip(classes, errors[1:].tolist(), counts[1:, :, 2].sum(1), strict=True), key=lambda one: -one[1])
        curve = [
            {"from": place / self.bins, "to": (place + 1) / self.bins, "pixels": int(pixels),
             "confidence": confidence / pixels if pixels else math.nan, "accuracy": hits / pixels if pixels else math.nan}
            for place, (pixels, confidence, hits) in enumerate(counts[0].tolist())
        ]  # fmt: skip
        lines = [(name, f"{error:.4f}", f"{int(held):,}") for name, error, held in by_class]
        tables: list[Table | str] = [
            Table(("class", "ECE", "pixels of truth"), lines),
            "",
            Table(
                ("probability", "mean", "right", "pixels"),
                [(f"{one['from']:.2f} to {one['to']:.2f}", percent(one["confidence"]), percent(one["accuracy"]),
                  f"{one['pixels']:,}") for one in curve if one["pixels"]],
            ),
        ]  # fmt: skip
        details = {
            "classes": [{"name": name, "ECE": error, "pixels": int(held)} for name, error, held in by_class],
            "reliability": curve,
        }
        note = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        return Summary(figures, details, tables, note, counts)


def bin_counts(labels: NDArray[np.integer], probabilities: NDArray[np.floating], void: int, bins: int) -> NDArray[np.float64]:
    """((1 + C) x bins x 3 + 1,): pixels, sum of probabilities and hits in each bin, of the predicted class and then of each
    class; and last the sum of squares of Brier's score.

    `labels` are class ids or void (H, W), `probabilities` (C, H, W) in 0..1."""
    judged = labels != void
    truth, judged_probabilities = labels[judged].astype(np.int64), probabilities[:, judged].astype(np.float64)
    predicted = judged_probabilities.argmax(0)
    counts = np.zeros((1 + len(probabilities), bins, COUNTED))
    pairs = [(judged_probabilities.max(0) if truth.size else np.zeros(0), predicted == truth)]
    pairs += [(of_class, truth == class_id) for class_id, of_class in enumerate(judged_probabilities)]
    for place, (values, hits) in enumerate(pairs):
        bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)
        counts[place] = np.stack([np.bincount(bin_of, weights, bins) for weights in (None, values, hits)], 1)
    squares = (judged_probabilities**2).sum() - 2 * judged_probabilities[truth, np.arange(truth.size)].sum() + truth.size
    return np.append(counts.ravel(), squares)


def calibration_errors(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, 1 + C) sums over bins of |hits - sum of probabilities|, of `bin_counts` (R, 1 + C, bins, 3)."""
    return np.asarray(np.abs(counts[..., 2] - counts[..., 1]).sum(-1))

