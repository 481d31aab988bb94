"""evaluate --boundary-iou: the borders of a model's, or of masks', classes by Boundary IoU (see `boundary_iou`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import Dataset, label_digest
from perpixel.errors import DataError
from perpixel.judging.evaluate import Progress, answers, each
from perpixel.judging.intervals import Intervals, Replicates, class_iou, interval, print_intervals
from perpixel.judging.protocol import Failed, hash_of, left_out
from perpixel.measures.boundary_iou import DILATION, band_counts, refuse_dilation
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.sample import Sample
from perpixel.terminal import percent, print_table, show
from perpixel.weights.model_file import Model

RULES = {
    "boundary_iou": "bands along the outlines of a class, inside it, summed over pictures: both / either",
    "width": "dilation x diagonal of the picture, rounded, at least 1 pixel; the picture's border is outline",
    "boundary_void": "void pixels of the truth are of no class in either map; their edge is outline in both",
    "mean": "over classes that are in truth or prediction",
}


@dataclass(frozen=True)
class BoundaryScores:
    """The judgement of a split: `counts` (3 C,) of `band_counts` over all pictures, the protocol, and if asked for intervals."""

    counts: NDArray[np.int64]
    protocol: dict[str, Any]
    intervals: Intervals | None = None

    @property
    def iou(self) -> dict[str, float]:
        """Boundary IoU of each class in 0..1, nan where it is in neither truth nor prediction."""
        return dict(zip(self.protocol["classes"], class_iou(self.counts[None])[0].tolist(), strict=True))

    @property
    def figures(self) -> dict[str, float]:
        known = [value for value in self.iou.values() if not math.isnan(value)]
        return {"boundary_mIoU": sum(known) / len(known) if known else math.nan}

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: figure, classes, counts, protocol and its hash, and if there are any the intervals; nan is null."""
        names, counts = self.protocol["classes"], self.counts.reshape(3, -1).T.tolist()
        rows = [
            {"name": name, "boundary_iou": _finite(self.iou[name]), "both": both, "truth": truth, "predicted": predicted}
            for name, (both, truth, predicted) in zip(names, counts, strict=True)
        ]
        told = {} if self.intervals is None else {"bootstrap": self.intervals.to_json()}
        figures = {name: _finite(value) for name, value in self.figures.items()}
        return {"figures": figures, "classes": rows, "protocol": self.protocol, "protocol_hash": self.protocol_hash, **told}


def evaluate_boundary_iou(
    model_or_predictions: Model | str | Path,
    dataset: Dataset,
    dilation: float = DILATION,
    progress: Progress | None = None,
    inference: Inference = PLAIN,
    bootstrap: int = 0,
    seed: int = 0,
    failed: Failed = None,
) -> BoundaryScores:
    """Judges a model, or a folder of masks, on every picture of `dataset`; memory does not grow with their number.

    Raises UsageError for a dilation outside 0 < r <= 1, and what `evaluate` raises."""
    pictures, protocol_of = pictures_of(model_or_predictions, dataset, dilation, inference, failed)
    width = 3 * len(dataset.classes)
    replicates = Replicates(len(dataset), width, bootstrap, seed) if bootstrap else None
    total, digests = np.zeros(width, np.int64), list[bytes]()
    for index, (counts, digest) in enumerate(pictures):
        digests.append(digest)
        total += counts
        if replicates:
            replicates.add(index, counts)
        if progress is not None:
            progress(index + 1, len(dataset))
    more = left_out(failed, len(dataset), bootstrap)
    sure = _intervals(replicates, dataset.classes.names) if replicates else None
    return BoundaryScores(total, protocol_of(digests) | more, sure)


def pictures_of(
    model_or_predictions: Model | str | Path,
    dataset: Dataset,
    dilation: float = DILATION,
    inference: Inference = PLAIN,
    failed: Failed = None,
) -> tuple[Iterator[tuple[NDArray[np.int64], bytes]], Callable[[Iterable[bytes]], dict[str, Any]]]:
    """`band_counts` of each picture with the digest of its truth, in the data set's order; and the protocol of those digests.

    Raises what `evaluate_boundary_iou` does."""
    refuse_dilation(dilation)
    answer, protocol_of = answers(model_or_predictions, dataset, inference)
    classes = dataset.classes

    def one(sample: Sample) -> tuple[NDArray[np.int64], bytes]:
        digest = label_digest(sample)
        assert sample.labels is not None
        predicted = answer(sample).labels
        try:
            counts = band_counts(sample.labels, predicted, len(classes), classes.void, dilation)
        except DataError as error:
            raise DataError(f"{sample.name}: {error}") from error
        return counts, digest

    return each(dataset, one, failed), lambda digests: {**protocol_of(digests), "boundaries": {"dilation": dilation, **RULES}}


def figures_of(sums: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """The figure of each of `sums` (R, 3 C) of `band_counts`, (R,)."""
    iou = class_iou(sums)
    known = ~np.isnan(iou)
    return {"boundary_mIoU": np.divide(np.nansum(iou, 1), known.sum(1), out=np.full(len(iou), np.nan), where=known.any(1))}


def _intervals(replicates: Replicates, names: tuple[str, ...]) -> Intervals:
    figures = {name: interval(values) for name, values in figures_of(replicates.sums).items()}
    of_classes = {name: interval(values) for name, values in zip(names, class_iou(replicates.sums).T, strict=True)}
    return Intervals(figures, of_classes, replicates.num_pictures, len(replicates.sums), replicates.seed)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def print_boundary_iou(scores: BoundaryScores) -> None:
    """A row per class, worst first, then the mean, split and protocol."""
    ranked = sorted(scores.iou.items(), key=lambda item: (math.isnan(item[1]), item[1]))
    print_table(("class", "Boundary IoU"), [(name, percent(value)) for name, value in ranked])
    said = f"boundary_mIoU {percent(scores.figures['boundary_mIoU'])}, dilation {scores.protocol['boundaries']['dilation']:g}"
    show(f"{said}; split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    print_intervals(scores.intervals)
