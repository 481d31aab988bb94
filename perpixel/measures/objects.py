"""The measures of separate objects: SEG, average precision, splits and merges.

    numbers = components(prediction.labels, class_id, minimum_area=500)     # of `masks.components`
    found = overlaps(sample.instances.numbers, numbers)
    seg(found).mean(), precision(found, 0.5), splits(found), merges(found)

Objects are numbers in one map, and how they lie over each other is counted once for every pair that touches: a picture with 1,000
objects costs what one with 10 does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of the Data Science Bowl 2018, as of COCO: 0.5, 0.55 ... 0.95.
IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


@dataclass(frozen=True)
class Overlaps:
    """N true and M predicted objects of a picture: their areas in pixels, int64 (N,) and (M,), and every pair that overlaps.

    `truth` and `predicted` are int64 (K,), the places of the pair's objects from 0, `pixels` int64 (K,) its common pixels."""

    truth_areas: NDArray[np.int64]
    predicted_areas: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    pixels: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """(K,) common pixels / pixels of either, in 0..1."""
        either = self.truth_areas[self.truth] + self.predicted_areas[self.predicted] - self.pixels
        ratio: NDArray[np.float64] = self.pixels / either
        return ratio


def overlaps(truth: NDArray[Any], predicted: NDArray[Any]) -> Overlaps:
    """Counts the pairs of two maps of numbers (H, W), 0 for no object, 1 .. N and 1 .. M for objects."""
    first, second, pixels = pairs(truth, predicted)
    both = (first > 0) & (second > 0)
    return Overlaps(_areas(truth), _areas(predicted), first[both] - 1, second[both] - 1, pixels[both])


def _areas(numbers: NDArray[Any]) -> NDArray[np.int64]:
    return np.bincount(numbers.ravel(), minlength=1)[1:].astype(np.int64)


def pairs(truth: NDArray[Any], predicted: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each pair of values that meet in two maps of one shape, and how often: three int64 (K,). Values are 0 or above."""
    width = int(predicted.max(initial=0)) + 1
    joined, counts = np.unique(truth.astype(np.int64).ravel() * width + predicted.ravel(), return_counts=True)
    return joined // width, joined % width, counts.astype(np.int64)


def seg(found: Overlaps) -> NDArray[np.float64]:
    """SEG of the Cell Tracking Challenge, of each true object, float64 (N,) in 0..1; its mean over all frames is the measure.

        J(R, S) = |R ∩ S| / |R ∪ S|  with the predicted S that covers more than half of R,  |R ∩ S| > 0.5 |R|;  0 without one

    At most one S does. Predicted objects that cover none are not punished (Maška et al., Bioinformatics 2014)."""
    scores = np.zeros(len(found.truth_areas))
    covers = 2 * found.pixels > found.truth_areas[found.truth]
    scores[found.truth[covers]] = found.iou[covers]
    return scores


def precision(found: Overlaps, threshold: float) -> float:
    """TP / (TP + FP + FN) of a picture in the sense of the Data Science Bowl 2018; nan where there are no objects at all.

    A predicted and a true object with an IoU above `threshold` are a TP; what is left of the predicted is FP, of the true FN.
    The bowl's average precision is the mean over `IOU_THRESHOLDS`, then over pictures (Caicedo et al., Nature Methods 2019). It
    knows no scores of objects, so it is not COCO's AP. From 0.5 on an object has at most one partner; below, ValueError."""
    if threshold < 0.5:
        raise ValueError(f"threshold {threshold}: below 0.5 an object may have two partners.")
    hits = int((found.iou > threshold).sum())
    total = len(found.truth_areas) + len(found.predicted_areas) - hits
    return hits / total if total else float("nan")


def splits(found: Overlaps) -> int:
    """How many true objects hold two or more predicted objects, each by more than half of its own pixels."""
    held = found.truth[2 * found.pixels > found.predicted_areas[found.predicted]]
    return int((np.bincount(held) > 1).sum())


def merges(found: Overlaps) -> int:
    """How many predicted objects hold two or more true objects, each by more than half of its own pixels."""
    held = found.predicted[2 * found.pixels > found.truth_areas[found.truth]]
    return int((np.bincount(held) > 1).sum())
