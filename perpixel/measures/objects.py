"""From class labels to separate objects, and the measures of objects: SEG, average precision, splits and merges.

    numbers = components(prediction.labels, class_id, minimum_area=500)     # int32 (H, W): 0 no object, 1 .. N
    found = overlaps(sample.instances.numbers, numbers)
    seg(found).mean(), precision(found, 0.5), splits(found), merges(found)

Objects are numbers in one map, and how they lie over each other is counted once for every pair that touches: a picture with 1,000
objects costs what one with 10 does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.errors import UsageError
from perpixel.sample import Instances

NEIGHBOURS = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}
# Of the Data Science Bowl 2018, as of COCO: 0.5, 0.55 ... 0.95.
IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


def components(
    labels: NDArray[Any], class_id: int, connectivity: int = 4, minimum_area: int = 0, fill_holes: bool = False
) -> NDArray[np.int32]:
    """The objects of a class in `labels` (H, W), numbered from 1 in the order of their first pixels; 0 elsewhere.

    An object is a piece of the class whose pixels share edges (`connectivity` 4), or edges or corners (8). First, with
    `fill_holes`, what the class encloses becomes part of it, whatever it was; what is outside is joined by the other
    connectivity, as topology wants. Last, objects below `minimum_area` pixels are dropped: U-Net's release for cell tracking
    drops those below 500 and fills no holes. Raises UsageError for another connectivity or a negative area."""
    refuse_rules(connectivity, minimum_area)
    mask = labels == class_id
    if fill_holes:
        mask = ndimage.binary_fill_holes(mask, NEIGHBOURS[12 - connectivity])
    numbers: NDArray[np.int32] = ndimage.label(mask, NEIGHBOURS[connectivity], output=np.int32)[0]
    return _renumbered(numbers, np.bincount(numbers.ravel()) >= minimum_area) if minimum_area > 1 else numbers


def refuse_rules(connectivity: int, minimum_area: int) -> None:
    """Raises UsageError where `components` would."""
    if connectivity not in NEIGHBOURS:
        raise UsageError(f"connectivity = {connectivity}: pixels of an object share edges (4), or edges or corners (8).")
    if minimum_area < 0:
        raise UsageError(f"minimum_area = {minimum_area}: is in pixels; give 0 (all objects) or above.")


def instances_of(numbers: NDArray[Any], class_id: int) -> Instances:
    """The objects of `components` as instances of one class."""
    return Instances.of_numbers(numbers, np.full(int(numbers.max()), class_id, np.int64))


def of_class(instances: Instances, class_id: int) -> NDArray[np.int32]:
    """The numbers (H, W) of the instances of one class, from 1, 0 elsewhere; of some that overlap, the last is seen."""
    return _renumbered(instances.numbers, np.concatenate([[False], instances.class_ids == class_id]))


def without_void(numbers: NDArray[Any], void: NDArray[np.bool_]) -> NDArray[np.int32]:
    """`numbers` without the pixels that are `void` (both H, W), and without the objects of which they are more than half."""
    count = int(numbers.max()) + 1
    hidden = np.bincount(numbers[void], minlength=count)
    return _renumbered(np.where(void, 0, numbers), 2 * hidden <= np.bincount(numbers.ravel(), minlength=count))


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


def _renumbered(numbers: NDArray[Any], keep: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The objects i with `keep[i]`, numbered from 1 in their order."""
    keep = keep.copy()
    keep[0] = False
    table: NDArray[np.int32] = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    chosen: NDArray[np.int32] = table[numbers]
    return chosen
