"""Calibration: is a class that is predicted with a probability of 0.8 right in 80 % of its pixels?

    ECE   = sum over bins of |accuracy - confidence| x share of the pixels          (Guo et al., ICML 2017, equation 3)
    Brier = mean over pixels of the sum over classes of (p - y)^2                   (Brier, Monthly Weather Review 78, 1950)

Confidence is the probability of the predicted class, in 15 equal bins of 0..1 as in Guo et al. The ECE of a class bins the
probability of that class in every pixel; the mean over classes is the classwise ECE (Kull et al., NeurIPS 2019). Void pixels are
left out. Masks cannot be judged so, since they hold no probabilities.

    q_c = p_c^(1/T) / sum over classes of p_k^(1/T)                                 (temperature: Guo et al., section 4.2)

One temperature T for a model makes it surer (below 1) or less sure (above 1) and changes no label. The one with the smallest
negative log-likelihood is `temperature`. ECE and Brier score with it are honest: each half of the pictures has the temperature
that is the best for the other half."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import label_digest
from perpixel.errors import DataError, UsageError
from perpixel.measures.measure import (
    Better,
    Figures,
    FiguresOf,
    Measure,
    Needs,
    Summary,
    Table,
    Values,
    percent,
    ratio,
    weighted_sums,
)
from perpixel.sample import Prediction, Sample

BINS = 15
COUNTED = 3  # numbers counted for a bin: pixels, sum of probabilities, hits
TEMPERATURES = tuple(2 ** (quarter / 4) for quarter in range(-4, 13))  # that are tried: 0.5 to 8
TINY = 1e-12  # probabilities count as at least this much in a logarithm


@dataclass(frozen=True)
class Calibration(Measure[NDArray[np.float64]]):
    """ECE, classwise ECE and Brier score of probabilities, and what one temperature makes of them.

    A row is `bin_counts`, and behind them `tempered_counts`. Raises UsageError for fewer than one bin."""

    bins: int = BINS

    name: ClassVar[str] = "calibration"
    entry: ClassVar[str] = "calibration"
    rules: ClassVar[Mapping[str, str]] = {
        "ECE": "|accuracy - mean confidence| of the predicted class in equal bins of 0..1, weighted by pixels",
        "classwise_ECE": "the same of the probability of each class in all pixels; mean over classes",
        "Brier": "sum over classes of (probability - truth)^2, mean over pixels",
        "calibration_void": "void pixels of the truth are left out",
        "temperature": "of 17 from 0.5 to 8 the one with the least negative log-likelihood; p^(1/T), normalised",
        "tempered": "pictures at even places with the temperature of those at odd places, and the other way round",
    }
    needs: ClassVar[Needs] = "scores"
    # A constant prediction of the frequencies of classes has no calibration error, so Brier's score comes first.
    better: ClassVar[Mapping[str, Better]] = dict.fromkeys(
        ("Brier", "ECE", "classwise_ECE", "tempered_Brier", "tempered_ECE"), "smaller"
    )
    decimals: ClassVar[Mapping[str, int]] = {"temperature": 2, "": 4}
    amounts: ClassVar[frozenset[str]] = frozenset({"Brier", "tempered_Brier", "temperature"})  # Brier's score is 2 at most

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise UsageError(f"bins = {self.bins}: give 1 or more, as {BINS}.")

    def count(self, truth: Sample, predicted: Prediction) -> tuple[NDArray[np.float64], bytes]:
        assert predicted.scores is not None, "a predictor without scores is refused before"
        digest = label_digest(truth)
        assert truth.labels is not None
        if predicted.scores.shape[1:] != truth.labels.shape:
            raise DataError(
                f"{truth.name}: the truth has the shape {truth.labels.shape}, the probabilities {predicted.scores.shape[1:]}; "
                "judge at the truth's size."
            )
        judged = truth.labels != predicted.classes.void
        labels, probabilities = truth.labels[judged].astype(np.int64), predicted.scores[:, judged].astype(np.float64)
        counts = bin_counts(labels, probabilities, self.bins), tempered_counts(labels, probabilities, self.bins)
        return np.concatenate(counts), digest

    def figures(self, *sides: Sequence[NDArray[np.float64]]) -> FiguresOf:
        rows = [row for side in sides for row in side]
        odd = np.concatenate([np.arange(len(side)) % 2 for side in sides])  # a picture is in the same half on all sides

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            halves = [weighted_sums(weights * (odd == half), rows, np.float64) for half in (0, 1)]
            counts, squares = self._plain(halves[0] + halves[1])
            errors = ratio(calibration_errors(counts), counts[..., 0].sum(2))  # (R, 1 + C)
            brier = ratio(squares, counts[:, 0, :, 0].sum(1))
            figures = {"ECE": errors[:, 0], "classwise_ECE": errors[:, 1:].mean(1), "Brier": brier}
            return Figures(figures | tempered_figures(*(self._tempered(half) for half in halves)))

        return figures_of

    def _plain(self, sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of sums of rows (R, K): counts (R, 1 + C, bins, 3), and sums of squares (R,)."""
        counts = sums[:, : -len(TEMPERATURES) * self._of_temperature]
        return counts[:, :-1].reshape(len(sums), -1, self.bins, COUNTED), counts[:, -1]

    def _tempered(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of sums of rows (R, K): `tempered_counts` (R, temperatures, bins x 3 + 2)."""
        return sums[:, -len(TEMPERATURES) * self._of_temperature :].reshape(len(sums), len(TEMPERATURES), -1)

    @property
    def _of_temperature(self) -> int:
        return self.bins * COUNTED + 2

    def summary(self, rows: Sequence[NDArray[np.float64]], classes: Sequence[str], names: Sequence[str]) -> Summary:
        drawn = self.figures(rows)(np.ones((1, len(rows)), np.int64)).overall
        figures = {name: float(values[0]) for name, values in drawn.items()}
        counts = self._plain(np.sum(rows, 0)[None])[0][0]
        errors = ratio(calibration_errors(counts[None])[0], counts[..., 0].sum(1))
        by_class = sorted(zip(classes, errors[1:].tolist(), counts[1:, :, 2].sum(1), strict=True), key=lambda row: -row[1])
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
                [(f"{row['from']:.2f} to {row['to']:.2f}", percent(row["confidence"]), percent(row["accuracy"]),
                  f"{row['pixels']:,}") for row in curve if row["pixels"]],
            ),
        ]  # fmt: skip
        details = {
            "classes": [{"name": name, "ECE": error, "pixels": int(held)} for name, error, held in by_class],
            "reliability": curve,
        }
        note = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        return Summary(figures, details, tables, note, counts)


def bin_counts(labels: NDArray[np.integer], probabilities: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """((1 + C) x bins x 3 + 1,): pixels, sum of probabilities and hits in each bin, first of the predicted class, then of each
    class. The last number is the sum of squares of Brier's score.

    `labels` are the class ids of the judged pixels (P,), `probabilities` (C, P) in 0..1."""
    pairs = [(probabilities.max(0) if labels.size else np.zeros(0), probabilities.argmax(0) == labels)]
    pairs += [(of_class, labels == class_id) for class_id, of_class in enumerate(probabilities)]
    counts = np.stack([_binned(values, hits, bins) for values, hits in pairs])
    return np.append(counts.ravel(), _squares(labels, probabilities))


def tempered_counts(labels: NDArray[np.integer], probabilities: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """(temperatures x (bins x 3 + 2),): with each temperature the counts of the predicted class in each bin, the sum of squares
    of Brier's score, and the negative log-likelihood of the truth, in nats."""
    if not labels.size:
        return np.zeros(len(TEMPERATURES) * (bins * COUNTED + 2))
    logits = np.log(np.maximum(probabilities, TINY))
    logits -= logits.max(0)
    hits, counts = probabilities.argmax(0) == labels, []
    for temperature in TEMPERATURES:
        tempered = np.exp(logits / temperature)
        tempered /= tempered.sum(0)
        of_truth = np.maximum(tempered[labels, np.arange(labels.size)], TINY)
        binned = _binned(tempered.max(0), hits, bins)
        counts.append(np.append(binned.ravel(), (_squares(labels, tempered), -np.log(of_truth).sum())))
    return np.concatenate(counts)


def tempered_figures(even: NDArray[np.float64], odd: NDArray[np.float64]) -> Values:
    """Figures (R,) of `tempered_counts` (R, temperatures, bins x 3 + 2) of two halves of the pictures; nan where one is empty."""
    places = np.arange(len(even))
    crossed = odd[places, even[..., -1].argmin(1)] + even[places, odd[..., -1].argmin(1)]
    counts = crossed[:, :-2].reshape(len(even), -1, COUNTED)
    both = (even[:, 0, :-2].any(1)) & (odd[:, 0, :-2].any(1))
    pixels = np.where(both, counts[..., 0].sum(1), 0)
    temperature = np.array(TEMPERATURES)[(even + odd)[..., -1].argmin(1)]
    return {
        "temperature": np.where((even + odd)[:, 0].any(1), temperature, math.nan),
        "tempered_ECE": ratio(calibration_errors(counts), pixels),
        "tempered_Brier": ratio(crossed[:, -2], pixels),
    }


def _binned(values: NDArray[np.float64], hits: NDArray[np.bool_], bins: int) -> NDArray[np.float64]:
    """(bins, 3): pixels, sum of `values` in 0..1, and `hits` of each bin."""
    bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)
    return np.stack([np.bincount(bin_of, weights, bins) for weights in (None, values, hits)], 1)


def _squares(labels: NDArray[np.integer], probabilities: NDArray[np.float64]) -> float:
    """Sum over pixels and classes of (p - y)^2."""
    of_truth = probabilities[labels, np.arange(labels.size)]
    return float((probabilities**2).sum() - 2 * of_truth.sum() + labels.size)


def calibration_errors(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, 1 + C) sums over bins of |hits - sum of probabilities|, of `bin_counts` (R, 1 + C, bins, 3)."""
    return np.asarray(np.abs(counts[..., 2] - counts[..., 1]).sum(-1))

