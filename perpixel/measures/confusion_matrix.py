"""ConfusionMatrix and its figures: pixel accuracy, mean accuracy, IoU, mIoU, frequency-weighted IoU, Dice.

One matrix is summed over all pictures, and every figure is computed from it; the mean of the scores of single pictures is another
number. Definitions are those of FCN (Long et al., CVPR 2015, section 5, and `score.py`): a class that occurs neither in truth nor
in prediction is `nan` and leaves the means; a class that is only predicted counts as 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perpixel.errors import DataError
from perpixel.machines.compiled import compiled
from perpixel.measures.measure import Values, mean_of_known, ratio


class ConfusionMatrix:
    """Pixel counts of truth (rows) against prediction (columns) for `num_classes` classes; `counts` is int64 (C, C).

    Pixels whose truth is `void` are not counted."""

    def __init__(self, num_classes: int, void: int = 255) -> None:
        if not 1 <= num_classes <= void <= 65535:
            raise ValueError(f"{num_classes} classes and void {void} do not go together; void lies in C..65535.")
        self.num_classes, self.void = num_classes, void
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        # Column (and row) of each value: 0..C-1 classes, C void, C + 1 values that must not occur.
        self._place = np.full(65536, num_classes + 1, np.int32)
        self._place[:num_classes] = np.arange(num_classes)
        self._place[void] = num_classes

    def add(self, truth: ArrayLike, predicted: ArrayLike) -> None:
        """Counts one picture (or many): integer arrays of one shape, truth in 0..C-1 or void, predictions in 0..C-1.

        Where truth is void the prediction may hold anything. Raises DataError for other values and for unequal shapes,
        and then counts nothing."""
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        if truth.shape != predicted.shape:
            raise DataError(f"truth has the shape {truth.shape}, the prediction {predicted.shape}; judge at the truth's size.")
        classes = self.num_classes
        truth_values, predicted_values = _unsigned(truth).ravel(), _unsigned(predicted).ravel()
        if _are_few(truth_values.size):
            counts = _count_few(truth_values, predicted_values, self._place, classes)
        elif truth_values.dtype == predicted_values.dtype == np.uint8:
            counts = _count_bytes(truth_values, predicted_values, classes, self.void)
        else:
            counts = _count(truth_values, predicted_values, self._place, classes)
        judged = counts[:classes]
        if counts[classes + 1].any():
            wrong = (truth != self.void) & ((truth < 0) | (truth >= classes))
            raise DataError(_stray("truth", truth, wrong, classes, self.void))
        if judged[:, classes:].any():
            wrong = (truth != self.void) & ((predicted < 0) | (predicted >= classes))
            raise DataError(_stray("prediction", predicted, wrong, classes, None))
        self.counts += judged[:, :classes]

    def __iadd__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Adds the counts of another matrix of the same classes (another process, another part of the set)."""
        if (self.num_classes, self.void) != (other.num_classes, other.void):
            raise ValueError("confusion matrices of different class sets cannot be added.")
        self.counts += other.counts
        return self

    def class_counts(self) -> NDArray[np.int64]:
        """(3 C,) hits, truth and predicted pixels of each class: all that figures need."""
        return np.concatenate([np.diag(self.counts), self.counts.sum(1), self.counts.sum(0)])

    def figures(self) -> dict[str, float]:
        """`pixel_figures` of these counts."""
        return {name: float(value[0]) for name, value in pixel_figures(self.class_counts()[None]).items()}

    def pixel_accuracy(self) -> float:
        """Correct pixels / judged pixels; nan without pixels."""
        return self.figures()["pixel_accuracy"]

    def accuracy(self) -> NDArray[np.float64]:
        """(C,) TP / (TP + FN) of each class; nan where truth has none."""
        return ratio(np.diag(self.counts), self.counts.sum(1))

    def precision(self) -> NDArray[np.float64]:
        """(C,) TP / (TP + FP) of each class; nan where nothing was predicted."""
        return ratio(np.diag(self.counts), self.counts.sum(0))

    def mean_accuracy(self) -> float:
        """Mean of `accuracy` over the classes that occur in truth."""
        return self.figures()["mean_accuracy"]

    def iou(self) -> NDArray[np.float64]:
        """(C,) TP / (TP + FP + FN); nan for a class absent from truth and prediction."""
        iou: NDArray[np.float64] = class_iou(self.class_counts()[None])[0]
        return iou

    def mean_iou(self) -> float:
        """Mean of `iou` over the classes that are not nan."""
        return self.figures()["mIoU"]

    def frequency_weighted_iou(self) -> float:
        """Sum over the classes of their share of truth times their IoU."""
        return self.figures()["fwIoU"]

    def dice(self) -> NDArray[np.float64]:
        """(C,) 2 TP / (2 TP + FP + FN), the F1 of pixels; nan for a class absent from truth and prediction."""
        dice: NDArray[np.float64] = class_dice(self.class_counts()[None])[0]
        return dice

    def mean_dice(self) -> float:
        """Mean of `dice` over the classes that are not nan."""
        return self.figures()["mean_dice"]


def pixel_figures(sums: NDArray[np.int64]) -> Values:
    """Figures over all classes for each of `sums` (R, 3 C) of `class_counts`, (R,) each, in 0..1 or nan."""
    hits, truth, _ = np.split(sums, 3, axis=1)
    iou, pixels = class_iou(sums), truth.sum(1)
    return {
        "mIoU": mean_of_known(iou),
        "pixel_accuracy": ratio(hits.sum(1), pixels),
        "mean_accuracy": mean_of_known(ratio(hits, truth)),
        "fwIoU": np.where(pixels > 0, np.nansum(ratio(truth, pixels[:, None]) * iou, 1), np.nan),
        "mean_dice": mean_of_known(class_dice(sums)),
    }


def class_iou(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R, C); nan where a sample has a class in neither truth nor prediction."""
    hits, truth, predicted = np.split(sums, 3, axis=1)
    return ratio(hits, truth + predicted - hits)


def class_dice(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R, C); nan as `class_iou`."""
    hits, truth, predicted = np.split(sums, 3, axis=1)
    return ratio(2 * hits, truth + predicted)


FEW = 2**23  # pixels: NumPy counts them in 0.04 s, compiled code in 0.01 s, but numba takes 0.4 s to load
_asked = 0  # pixels that this process was asked to count


def _are_few(pixels: int) -> bool:
    """Whether NumPy counts these `pixels`: all that this process was asked to count, with these, are at most `FEW`."""
    global _asked
    _asked += pixels
    return _asked <= FEW


def _count_few(truth: Any, predicted: Any, place: Any, classes: int) -> Any:
    """As `_count`, without numba."""
    side = classes + 2
    return np.bincount(place[truth] * side + place[predicted], minlength=side**2).reshape(side, side)


ROW = 272  # cells from one truth value to the next: 256, and 16 more so that rows do not compete for the same cache lines


@compiled()
def _count_bytes(truth: Any, predicted: Any, classes: int, void: int) -> Any:
    """As `_count`, for uint8: the two bytes of a pixel are its cell, and bytes are turned into classes once a cell, not once a
    pixel."""
    tables = np.zeros((4, 256 * ROW), np.int64)
    whole = truth.size // 4 * 4
    for i in range(0, whole, 4):
        tables[0, truth[i] * ROW + predicted[i]] += 1
        tables[1, truth[i + 1] * ROW + predicted[i + 1]] += 1
        tables[2, truth[i + 2] * ROW + predicted[i + 2]] += 1
        tables[3, truth[i + 3] * ROW + predicted[i + 3]] += 1
    for i in range(whole, truth.size):
        tables[0, truth[i] * ROW + predicted[i]] += 1
    counts = np.zeros((classes + 2, classes + 2), np.int64)
    for value in range(256):
        row = value if value < classes else classes if value == void else classes + 1
        for other in range(256):
            cell = value * ROW + other
            count = tables[0, cell] + tables[1, cell] + tables[2, cell] + tables[3, cell]
            if count:
                counts[row, other if other < classes else classes + 1] += count
    return counts


@compiled()
def _count(truth: Any, predicted: Any, place: Any, classes: int) -> Any:
    """Counts in four tables by turns, because an addition to a cell must wait for the last addition to the same cell."""
    side = classes + 2
    tables = np.zeros((4, side * side), np.int64)
    whole = truth.size // 4 * 4
    for i in range(0, whole, 4):
        tables[0, place[truth[i]] * side + place[predicted[i]]] += 1
        tables[1, place[truth[i + 1]] * side + place[predicted[i + 1]]] += 1
        tables[2, place[truth[i + 2]] * side + place[predicted[i + 2]]] += 1
        tables[3, place[truth[i + 3]] * side + place[predicted[i + 3]]] += 1
    for i in range(whole, truth.size):
        tables[0, place[truth[i]] * side + place[predicted[i]]] += 1
    return (tables[0] + tables[1] + tables[2] + tables[3]).reshape(side, side)


def _unsigned(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as uint8 or uint16, whichever their type asks for; values outside become 65534, which is in no class."""
    if labels.dtype in (np.uint8, np.uint16):
        return labels
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels are class ids, whole numbers; found an array of {labels.dtype}.")
    return np.where((labels < 0) | (labels > 65535), 65534, labels).astype(np.uint16)


def _stray(name: str, labels: NDArray[Any], wrong: NDArray[np.bool_], classes: int, void: int | None) -> str:
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    allowed = f"0..{classes - 1}" + ("" if void is None else f" or void {void}")
    return f"{name}: value {labels[place]} at {place} ({int(wrong.sum())} pixels like it) is not {allowed}; use the same classes."
