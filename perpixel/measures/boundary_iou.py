"""Boundary IoU (Cheng et al., CVPR 2021, section 4): how well the borders of regions fit, which IoU hardly sees in large ones.

    boundary_iou(truth, found)                              # of two masks, bool (H, W)
    counts = sum(band_counts(truth, found, 21, 255) for ...)     # of label maps, over all pictures
    class_iou(counts[None])                                 # of `confusion_matrix`; their mean is the mean boundary IoU

    Boundary IoU(G, P) = |(G_d ∩ G) ∩ (P_d ∩ P)| / |(G_d ∩ G) ∪ (P_d ∩ P)|

G_d are the pixels within d of G's outline, so G_d ∩ G is a band along it, inside. As in the authors' code d is 0.02 of the
picture's diagonal, rounded, at least 1 pixel; distance is the larger of rows and columns; the picture's own border is outline
too. For Cityscapes, whose pictures are large and finely labelled, the authors take 0.005.

Of label maps the bands of a class are counted over all pictures before they are divided, as pixels are for IoU. Void pixels of
the truth are of no class in either map, so what is predicted there changes nothing, and the edge of void is outline in both.
Boundary AP of instances is `average_precision` by "boundary"; there an IoU is the lower one of masks and bands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.datasets import label_digest
from perpixel.errors import DataError, UsageError
from perpixel.measures.confusion_matrix import class_iou
from perpixel.measures.measure import Better, Figures, FiguresOf, Measure, Summary, Table, mean_of_known, percent, weighted_sums
from perpixel.sample import Prediction, Sample

DILATION = 0.02
NO_CLASS = -1


@dataclass(frozen=True)
class BoundaryIou(Measure[NDArray[np.int64]]):
    """The mean Boundary IoU of classes; a row is `band_counts` (3 C,) of a picture.

    Raises UsageError for a dilation outside 0 < r <= 1."""

    dilation: float = DILATION

    name: ClassVar[str] = "boundary_iou"
    entry: ClassVar[str] = "boundaries"
    better: ClassVar[Mapping[str, Better]] = {"boundary_mIoU": "larger"}
    class_means: ClassVar[frozenset[str]] = frozenset(better)
    enough: ClassVar[int] = 100
    rules: ClassVar[Mapping[str, str]] = {
        "boundary_iou": "bands along the outlines of a class, inside it, summed over pictures: both / either",
        "width": "dilation x diagonal of the picture, rounded, at least 1 pixel; the picture's border is outline",
        "boundary_void": "void pixels of the truth are of no class in either map; their edge is outline in both",
        "mean": "over classes that are in truth or prediction",
    }

    def __post_init__(self) -> None:
        refuse_dilation(self.dilation)

    def count(self, truth: Sample, predicted: Prediction) -> tuple[NDArray[np.int64], bytes]:
        digest, classes = label_digest(truth), predicted.classes
        assert truth.labels is not None
        try:
            return band_counts(truth.labels, predicted.labels, len(classes), classes.void, self.dilation), digest
        except DataError as error:
            raise DataError(f"{truth.name}: {error}") from error

    def figures(self, *sides: Sequence[NDArray[np.int64]]) -> FiguresOf:
        rows = [row for side in sides for row in side]

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            iou = class_iou(weighted_sums(weights, rows))
            return Figures({"boundary_mIoU": mean_of_known(iou)}, iou)

        return figures_of

    def summary(self, rows: Sequence[NDArray[np.int64]], classes: Sequence[str], names: Sequence[str]) -> Summary:
        totals = np.sum(rows, 0)
        by_class = class_iou(totals[None])[0]
        known = [iou for iou in by_class.tolist() if not math.isnan(iou)]
        mean = sum(known) / len(known) if known else math.nan  # in the order of classes, to the last digit
        counts = zip(classes, by_class.tolist(), totals.reshape(3, -1).T.tolist(), strict=True)
        details = [
            {"name": name, "boundary_iou": iou, "both": both, "truth": truth, "predicted": predicted}
            for name, iou, (both, truth, predicted) in counts
        ]
        ranked = sorted(zip(classes, by_class.tolist(), strict=True), key=lambda item: (math.isnan(item[1]), item[1]))
        table = Table(("class", "Boundary IoU"), [(name, percent(iou)) for name, iou in ranked])
        note = f"boundary_mIoU {percent(mean)}, dilation {self.dilation:g}"
        return Summary({"boundary_mIoU": mean}, {"classes": details}, [table], note, totals)


def boundary_iou(truth: NDArray[Any], found: NDArray[Any], dilation: float = DILATION) -> float:
    """The Boundary IoU of two masks (H, W), bool or 0 and not 0; nan where both are empty."""
    true_band, found_band = mask_band(truth, dilation), mask_band(found, dilation)
    union = np.count_nonzero(true_band | found_band)
    return np.count_nonzero(true_band & found_band) / union if union else math.nan


def mask_band(mask: NDArray[Any], dilation: float = DILATION) -> NDArray[np.bool_]:
    """The band of a mask (H, W), bool or 0 and not 0: its pixels with a pixel of 0, or the picture's outside, within d."""
    refuse_dilation(dilation)
    bands = mask.astype(np.bool_)
    rows, columns = np.flatnonzero(bands.any(1)), np.flatnonzero(bands.any(0))
    if len(rows):
        part = bands[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # around it all is 0
        side = 2 * width_of(mask.shape, dilation) + 1
        part &= ndimage.minimum_filter(part.view(np.uint8), side, mode="constant") == 0
    return bands


def band_counts(
    truth: NDArray[Any], found: NDArray[Any], num_classes: int, void: int, dilation: float = DILATION
) -> NDArray[np.int64]:
    """Pixels of the bands of each class, (3 C,): in both maps, in the truth's, in the found one's.

    The maps hold class ids (H, W), the truth void too. Raises DataError for two sizes, and where truth is not void for a value
    that is no class."""
    if truth.shape != found.shape:
        raise DataError(f"truth has the shape {truth.shape}, the prediction {found.shape}; judge at the truth's size.")
    judged = truth != void
    for what, labels in (("truth", truth), ("prediction", found)):
        strange = judged & ((labels < 0) | (labels >= num_classes))
        if strange.any():
            row, column = np.argwhere(strange)[0]
            said = f"{what} has {labels[row, column]} at row {row}, column {column}, which is no class"
            raise DataError(f"{said}; judge with the classes that both were made with.")
    true_map, found_map = (np.where(judged, labels.astype(np.int32), NO_CLASS) for labels in (truth, found))
    return _counts(true_map, found_map, num_classes, dilation)


def band(labels: NDArray[Any], dilation: float = DILATION) -> NDArray[np.bool_]:
    """Where a pixel of another value, or the outside of the picture, is within d of a pixel (H, W): the bands of all regions.

    `NO_CLASS` is in no band."""
    refuse_dilation(dilation)
    side = 2 * width_of(labels.shape, dilation) + 1
    low = ndimage.minimum_filter(labels, side, mode="constant", cval=NO_CLASS)
    high = ndimage.maximum_filter(labels, side, mode="constant", cval=NO_CLASS)
    bands: NDArray[np.bool_] = (low != high) & (labels != NO_CLASS)
    return bands


def width_of(size: tuple[int, ...], dilation: float = DILATION) -> int:
    """d of a picture of `size` (height, width), in pixels."""
    return max(1, round(dilation * math.hypot(*size)))


def refuse_dilation(dilation: float) -> None:
    """Raises UsageError for a dilation that is no share of a diagonal."""
    if not 0 < dilation <= 1:
        raise UsageError(f"dilation = {dilation}: is a share of the picture's diagonal; give above 0 up to 1, as {DILATION}.")


def _counts(truth: NDArray[Any], found: NDArray[Any], num_classes: int, dilation: float) -> NDArray[np.int64]:
    true_band, found_band = band(truth, dilation), band(found, dilation)
    chosen = truth[true_band & found_band & (truth == found)], truth[true_band], found[found_band]
    return np.concatenate([np.bincount(values, minlength=num_classes) for values in chosen]).astype(np.int64)
