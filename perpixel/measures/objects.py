"""The measures of separate objects: SEG, average precision, splits and merges.

    numbers = components(prediction.labels, class_id, minimum_area=500)     # of `masks.components`
    found = overlaps(sample.instances.numbers, numbers)
    seg(found).mean(), precision(found, 0.5), splits(found), merges(found)

Objects are numbers in one map, and how they lie over each other is counted once for every pair that touches: a picture with 1,000
objects costs what one with 10 does."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset, label_digest, with_objects
from perpixel.errors import DataError
from perpixel.masks.components import components, of_class, refuse_rules, without_void
from perpixel.measures.measure import Better, Figures, FiguresOf, Measure, Summary, Table, percent, ratio, weighted_sums
from perpixel.sample import Prediction, Sample

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


@dataclass(frozen=True)
class PictureObjects:
    """One picture: its true and predicted objects counted, SEG of each true object (N,), precision at each of
    `IOU_THRESHOLDS` (10,), nan without any object, and true objects that were split and predicted ones that merge."""

    name: str
    truth: int
    predicted: int
    seg: NDArray[np.float64]
    precision: NDArray[np.float64]
    splits: int
    merges: int


@dataclass(frozen=True)
class Objects(Measure[PictureObjects]):
    """The objects that a class makes in predicted labels, by the rules of `components`, against the instances of the truth.

    Raises UsageError for other rules."""

    class_name: str
    connectivity: int = 4
    minimum_area: int = 0
    fill_holes: bool = False

    name: ClassVar[str] = "objects"
    entry: ClassVar[str] = "objects"
    rules: ClassVar[Mapping[str, str]] = {
        "SEG": "Cell Tracking Challenge: IoU of each true object with the one that covers more than half of it, else 0; "
        "their mean",
        "AP": "Data Science Bowl 2018: TP / (TP + FP + FN), mean over IoU above 0.5, 0.55 .. 0.95, then over pictures",
        "without_objects": "a picture without true and predicted objects leaves the mean of AP",
        "void_objects": "void pixels and crowds belong to no object; an object of which they are more than half is not judged",
    }
    decimals: ClassVar[Mapping[str, int]] = {"true_objects": 1, "predicted_objects": 1, "splits": 1, "merges": 1}  # of objects
    amounts: ClassVar[frozenset[str]] = frozenset(decimals)
    sums: ClassVar[frozenset[str]] = frozenset({"splits", "merges"})
    better: ClassVar[Mapping[str, Better]] = {
        **dict.fromkeys(("SEG", "AP", "AP50", "AP75"), "larger"), "splits": "smaller", "merges": "smaller",
    }  # fmt: skip

    def __post_init__(self) -> None:
        refuse_rules(self.connectivity, self.minimum_area)

    def settings(self) -> dict[str, Any]:
        settings = dict(vars(self))
        return {"class": settings.pop("class_name"), **settings}

    def truth(self, dataset: Dataset) -> Dataset:
        """The data set with its objects. Raises UnknownName where it has no such class."""
        dataset.classes.id_of(self.class_name)
        return with_objects(dataset)

    def refuse(self, truth: Sample, classes: ClassTable) -> None:
        if truth.labels is None or truth.instances is None:
            raise DataError(f"{truth.name}: has no instances to judge objects by; add them, or judge without --objects.")

    def count(self, truth: Sample, predicted: Prediction) -> tuple[PictureObjects, bytes]:
        self.refuse(truth, predicted.classes)
        assert truth.labels is not None
        assert truth.instances is not None
        class_id, instances = predicted.classes.id_of(self.class_name), truth.instances
        digest = label_digest(truth) + hashlib.sha256(instances.numbers.tobytes()).digest()
        void = truth.labels == predicted.classes.void
        if instances.crowd.any():  # of which nobody knows how many objects they are
            void |= instances.masks[instances.crowd].any(0)
        true_objects = without_void(of_class(instances, class_id), void)
        objects = components(predicted.labels, class_id, self.connectivity, self.minimum_area, self.fill_holes)
        return judge_objects(truth.name, true_objects, without_void(objects, void)), digest

    def figures(self, *sides: Sequence[PictureObjects]) -> FiguresOf:
        """SEG, AP, AP50 and AP75 in 0..1, nan where undefined; objects are means over pictures, splits and merges are sums."""
        rows = [row for side in sides for row in side]
        thresholds = len(IOU_THRESHOLDS)
        counts = [
            np.array([row.truth, row.predicted, row.splits, row.merges, row.seg.sum(), not math.isnan(row.precision[0]),
                      *np.nan_to_num(row.precision)])
            for row in rows
        ]  # fmt: skip

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            sums = weighted_sums(weights, counts, np.float64)
            true, predicted, splits, merges, seg, judged = sums[:, :-thresholds].T
            by_threshold = ratio(sums[:, -thresholds:], judged[:, None])
            return Figures({
                "SEG": ratio(seg, true),
                "AP": by_threshold.mean(1),
                "AP50": by_threshold[:, 0],
                "AP75": by_threshold[:, IOU_THRESHOLDS.index(0.75)],
                "true_objects": true / weights.sum(1),
                "predicted_objects": predicted / weights.sum(1),
                "splits": splits,
                "merges": merges,
            })  # fmt: skip

        return figures_of

    def summary(self, rows: Sequence[PictureObjects], classes: Sequence[str], names: Sequence[str]) -> Summary:
        drawn = self.figures(rows)(np.ones((1, len(rows)), np.int64)).overall
        figures: dict[str, float] = {name: float(values[0]) for name, values in drawn.items()}
        figures |= {name: int(figures[name]) for name in ("splits", "merges")}
        if figures["true_objects"]:  # to the last digit the mean over all objects
            figures["SEG"] = float(np.concatenate([row.seg for row in rows]).mean())
        pictures = [
            {"name": row.name, "true_objects": row.truth, "predicted_objects": row.predicted,
             "SEG": float(row.seg.mean()) if row.truth else math.nan, "AP": float(row.precision.mean()),
             "splits": row.splits, "merges": row.merges}
            for row in rows
        ]  # fmt: skip
        table = [(name, percent(figures[name])) for name in ("SEG", "AP", "AP50", "AP75")]
        table += [(f"{kind} objects a picture", f"{figures[f'{kind}_objects']:.1f}") for kind in ("true", "predicted")]
        table += [("true objects that are split", f"{figures['splits']:.0f}")]
        table += [("objects that merge true ones", f"{figures['merges']:.0f}")]
        dropped = f", {self.minimum_area} pixels or more" if self.minimum_area else ""
        filled = ", holes filled" if self.fill_holes else ""
        note = f"{len(rows)} pictures, connectivity {self.connectivity}{dropped}{filled}"
        return Summary(figures, {"pictures": pictures}, [Table((self.class_name, ""), list(table))], note, tuple(rows))


def judge_objects(name: str, truth: NDArray[Any], predicted: NDArray[Any]) -> PictureObjects:
    """The row of a picture whose objects are numbers in two maps (H, W), from 1, 0 elsewhere."""
    found = overlaps(truth, predicted)
    return PictureObjects(
        name, len(found.truth_areas), len(found.predicted_areas), seg(found),
        np.array([precision(found, threshold) for threshold in IOU_THRESHOLDS]), splits(found), merges(found),
    )  # fmt: skip


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
