"""The mean IoU as other packages make it: eight rules that give the same predictions different scores.

From the pixels of each class in each picture: hits h, truth t, predicted p, IoU = h / (t + p - h), 0 / 0 where a class is in
neither. Void pixels are left out by all, see `Convention.void`. The rules are those in the sources of:

    FCN's `score.py` (nanmean), cityscapesScripts 2.3.0 (`getScoreAverage`), mmsegmentation 1.2.2 (`IoUMetric`)
    mit-semseg 1.0.0 (`eval.py`: sum / (sum + 1e-10)), PaddleSeg 2.0.0 to 2.8.0 (`metrics.mean_iou`), ultralytics 8.4.54 to 8.4.62
    segmentation-models-pytorch 0.6.0 (`iou_score(reduction="macro")`, whose `zero_division` is 1)
    detectron2 (`SemSegEvaluator`), ultralytics from 8.4.66 (`SemanticMetrics`, two classes or more)
    torchvision (`references/segmentation/utils.py`, `ConfusionMatrix`)
    torchgeo 0.8.1 (`JaccardIndex(average="micro")` of torchmetrics), the example in segmentation-models-pytorch's `metrics`
    torchmetrics 1.9.0 (`segmentation.MeanIoU`; one score for all pairs of a picture and a class that it has)
    MONAI 1.6.1 (`MeanIoU`: `ignore_empty`, reduction "mean")"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError
from perpixel.measures.confusion_matrix import ConfusionMatrix

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class PictureCounts:
    """What one picture adds: `classes` (K,) are the ids that truth or prediction holds, ascending; `hits`, `truth` and
    `predicted` (K,) their pixels where truth is not void, `at_void` (K,) those predicted where it is, `void` of them."""

    name: str
    classes: Counts
    hits: Counts
    truth: Counts
    predicted: Counts
    at_void: Counts
    void: int

    @classmethod
    def of(cls, name: str, truth: NDArray[Any], predicted: NDArray[Any], num_classes: int, void: int) -> PictureCounts:
        """Counts the class ids (H, W) of a picture; ids are 0..C-1, truth also void, and predictions anything where truth is.

        Raises DataError for other values and for unequal shapes."""
        matrix = ConfusionMatrix(num_classes, void)
        try:
            matrix.add(truth, predicted)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        outside = predicted[truth == void]
        at_void = np.bincount(outside[(outside >= 0) & (outside < num_classes)].astype(np.intp), minlength=num_classes)
        counts = np.stack([np.diag(matrix.counts), matrix.counts.sum(1), matrix.counts.sum(0), at_void])
        held = np.flatnonzero(counts.sum(0))
        hits, true, found, at_void = counts[:, held]
        return cls(name, held, hits, true, found, at_void, int(outside.size))

    @property
    def union(self) -> Counts:
        return self.truth + self.predicted - self.hits

    def with_void(self) -> PictureCounts:
        """As if predictions at void pixels were wrong ones."""
        return replace(self, predicted=self.predicted + self.at_void)


@dataclass(frozen=True)
class Totals:
    """`hits`, `truth` and `predicted` (C,) of all pictures."""

    hits: Counts
    truth: Counts
    predicted: Counts

    @classmethod
    def of(cls, pictures: Sequence[PictureCounts], num_classes: int) -> Totals:
        sums = np.zeros((3, num_classes), np.int64)
        for one in pictures:
            sums[:, one.classes] += (one.hits, one.truth, one.predicted)
        return cls(*sums)

    @property
    def union(self) -> Counts:
        return self.truth + self.predicted - self.hits

    @property
    def iou(self) -> NDArray[np.float64]:
        """(C,), nan for a class in neither."""
        return ratio(self.hits, self.union)


def left_out(totals: Totals, _: Sequence[PictureCounts]) -> float:
    """Mean IoU of the classes in truth or prediction; nan without any."""
    return mean(totals.iou[totals.union > 0])


def empty_is_zero(totals: Totals, _: Sequence[PictureCounts]) -> float:
    return mean(np.nan_to_num(totals.iou, nan=0.0))


def empty_is_one(totals: Totals, _: Sequence[PictureCounts]) -> float:
    return mean(np.nan_to_num(totals.iou, nan=1.0))


def truth_only(totals: Totals, _: Sequence[PictureCounts]) -> float:
    """Mean IoU of the classes that truth has; nan without any (ultralytics: 0)."""
    return mean(totals.iou[totals.truth > 0])


def plain(totals: Totals, _: Sequence[PictureCounts]) -> float:
    """Mean IoU of all classes: nan when one is in neither."""
    return mean(totals.iou)


def micro(totals: Totals, _: Sequence[PictureCounts]) -> float:
    """Sum of hits / sum of unions, over all classes; nan without any (torchmetrics: 0)."""
    return float(ratio(totals.hits.sum(keepdims=True), totals.union.sum(keepdims=True))[0])


def over_pairs(_: Totals, pictures: Sequence[PictureCounts]) -> float:
    """Mean IoU of all pairs of a picture and a class that its truth or prediction has; nan without any."""
    return mean(np.concatenate([ratio(one.hits, one.union)[one.union > 0] for one in pictures]))


def over_pictures(_: Totals, pictures: Sequence[PictureCounts]) -> float:
    """Mean over pictures of the mean IoU of the classes that the picture's truth has; a picture without any leaves the mean.

    0 when that leaves none."""
    means = [mean(ratio(one.hits, one.union)[one.truth > 0]) for one in pictures if one.truth.any()]
    return mean(np.array(means)) if means else 0.0


@dataclass(frozen=True)
class Convention:
    """`score` is in 0..1 or nan; `void` says what becomes of void pixels, and `default_counts_void` whether predictions there are
    wrong ones unless the package is told which value is void."""

    key: str
    packages: str
    rule: str
    void: str
    score: Callable[[Totals, Sequence[PictureCounts]], float]
    default_counts_void: bool = False


CONVENTIONS = (
    Convention(
        "left_out", "FCN's authors, Cityscapes, mmsegmentation; perpixel", "a class in neither truth nor prediction is left out",
        "left out: labels outside 0..C-1 (FCN), ignored labels (Cityscapes), ignore_index 255 (mmsegmentation)", left_out,
    ),
    Convention(
        "empty_is_zero", "mit-semseg, PaddleSeg, ultralytics to 8.4.62", "a class in neither counts as 0",
        "left out: label 0 on disk (mit-semseg), ignore_index 255 (PaddleSeg), 255 (ultralytics)", empty_is_zero,
    ),
    Convention(
        "empty_is_one", "segmentation-models-pytorch (macro)", "a class in neither counts as 1",
        "left out if get_stats is given ignore_index=255; without it what is predicted there counts as wrong", empty_is_one, True,
    ),
    Convention(
        "truth_only", "detectron2, ultralytics from 8.4.66",
        "only classes that truth has; one that is only predicted is left out",
        "left out: ignore_label of the data set (detectron2), 255 (ultralytics)", truth_only,
    ),
    Convention(
        "plain", "torchvision's references", "plain mean; a class in neither makes it nan",
        "left out: labels outside 0..C-1", plain,
    ),
    Convention(
        "micro", "torchgeo, segmentation-models-pytorch's example (micro)",
        "hits / unions summed over classes: large classes decide",
        "left out if ignore_index=255 is given; without it torchgeo stops at 255, and segmentation-models-pytorch counts what is "
        "predicted there as wrong", micro, True,
    ),
    Convention(
        "torchmetrics", "torchmetrics (MeanIoU)", "mean over all pairs of a picture and a class that it has or predicts",
        "there is no void: it stops at 255; here void pixels are blanked in truth and prediction", over_pairs, True,
    ),
    Convention(
        "monai", "MONAI (MeanIoU)", "mean over pictures of the mean over the classes of the picture's truth",
        "left out if ignore_index=255 is given; without it what is predicted there counts as wrong", over_pictures, True,
    ),
)  # fmt: skip


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """part / whole, nan where whole is 0."""
    result = np.full(len(part), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
