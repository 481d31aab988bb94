"""evaluate --objects CLASS: the objects of a class, made of its labels, against the instances of the truth (see `objects`)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import Dataset, label_digest, with_objects
from perpixel.errors import DataError
from perpixel.judging.evaluate import Progress, answers, each
from perpixel.judging.intervals import Intervals, interval, print_intervals, weights_of
from perpixel.judging.protocol import Failed, hash_of, left_out
from perpixel.masks.components import components, of_class, refuse_rules, without_void
from perpixel.measures.objects import IOU_THRESHOLDS, merges, overlaps, precision, seg, splits
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.sample import Sample
from perpixel.terminal import percent, print_table, show
from perpixel.weights.model_file import Model

RULES = {
    "SEG": "Cell Tracking Challenge: IoU of each true object with the one that covers more than half of it, else 0; their mean",
    "AP": "Data Science Bowl 2018: TP / (TP + FP + FN), mean over IoU above 0.5, 0.55 .. 0.95, then over pictures",
    "without_objects": "a picture without true and predicted objects leaves the mean of AP",
    "void_objects": "void pixels and crowds belong to no object; an object of which they are more than half is not judged",
}


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
class ObjectScores:
    """The judgement of one class's objects, picture by picture, the protocol, and if asked for the intervals of the figures."""

    pictures: tuple[PictureObjects, ...]
    protocol: dict[str, Any]
    intervals: Intervals | None = None

    @property
    def figures(self) -> dict[str, float]:
        """SEG, AP, AP50 and AP75 in 0..1, nan where undefined; objects are means over pictures, splits and merges are sums."""
        every = self.pictures
        known = [one.precision for one in every if not math.isnan(one.precision[0])]
        by_threshold = np.mean(known, 0) if known else np.full(len(IOU_THRESHOLDS), math.nan)
        values = np.concatenate([one.seg for one in every])
        return {
            "SEG": float(values.mean()) if len(values) else math.nan,
            "AP": float(by_threshold.mean()),
            "AP50": float(by_threshold[0]),
            "AP75": float(by_threshold[IOU_THRESHOLDS.index(0.75)]),
            "true_objects": sum(one.truth for one in every) / len(every),
            "predicted_objects": sum(one.predicted for one in every) / len(every),
            "splits": sum(one.splits for one in every),
            "merges": sum(one.merges for one in every),
        }

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: figures, pictures, protocol and its hash, and if there are any the intervals; nan is null."""
        told = {} if self.intervals is None else {"bootstrap": self.intervals.to_json()}
        rows = [
            {"name": one.name, "true_objects": one.truth, "predicted_objects": one.predicted,
             "SEG": _finite(float(one.seg.mean()) if one.truth else math.nan), "AP": _finite(float(one.precision.mean())),
             "splits": one.splits, "merges": one.merges}
            for one in self.pictures
        ]  # fmt: skip
        return {
            "figures": {name: _finite(value) for name, value in self.figures.items()},
            "pictures": rows,
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            **told,
        }


def evaluate_objects(
    model_or_predictions: Model | str | Path,
    dataset: Dataset,
    class_name: str,
    connectivity: int = 4,
    minimum_area: int = 0,
    fill_holes: bool = False,
    progress: Progress | None = None,
    inference: Inference = PLAIN,
    bootstrap: int = 0,
    seed: int = 0,
    failed: Failed = None,
) -> ObjectScores:
    """Judges the objects that the class makes in the labels of a model, or of a folder of masks, by the rules of `components`.

    `bootstrap` is the number of samples of pictures that intervals are made of, none with 0; see `bootstrap`.

    Raises DataError for a picture without instances, UnknownName for another class, UsageError for other rules, and what
    `evaluate` raises."""
    found, protocol_of = pictures_of(
        model_or_predictions, dataset, class_name, connectivity, minimum_area, fill_holes, inference, failed
    )  # fmt: skip
    pictures, digests = list[PictureObjects](), list[bytes]()
    for one, digest in found:
        pictures.append(one)
        digests.append(digest)
        if progress is not None:
            progress(len(pictures), len(dataset))
    sure = None
    if bootstrap:
        resampled = resampled_figures(pictures, weights_of(len(pictures), bootstrap, seed))
        by_name = {name: interval(values) for name, values in resampled.items()}
        sure = Intervals(by_name, {}, len(pictures), bootstrap, seed)
    return ObjectScores(tuple(pictures), protocol_of(digests) | left_out(failed, len(dataset), bootstrap), sure)


def pictures_of(
    model_or_predictions: Model | str | Path,
    dataset: Dataset,
    class_name: str,
    connectivity: int = 4,
    minimum_area: int = 0,
    fill_holes: bool = False,
    inference: Inference = PLAIN,
    failed: Failed = None,
) -> tuple[Iterator[tuple[PictureObjects, bytes]], Callable[[Iterable[bytes]], dict[str, Any]]]:
    """The row of each picture with the digest of its truth, in the order of the data set; and the protocol of those digests.

    Raises what `evaluate_objects` does."""
    class_id = dataset.classes.id_of(class_name)
    dataset = with_objects(dataset)
    refuse_rules(connectivity, minimum_area)
    answer, protocol_of = answers(model_or_predictions, dataset, inference)

    def one(sample: Sample) -> tuple[PictureObjects, bytes]:
        if sample.labels is None or sample.instances is None:
            raise DataError(f"{sample.name}: has no instances to judge objects by; add them, or judge without --objects.")
        digest = label_digest(sample) + hashlib.sha256(sample.instances.numbers.tobytes()).digest()
        void = sample.labels == dataset.classes.void
        if sample.instances.crowd.any():  # of which nobody knows how many objects they are
            void |= sample.instances.masks[sample.instances.crowd].any(0)
        truth = without_void(of_class(sample.instances, class_id), void)
        found = components(answer(sample).labels, class_id, connectivity, minimum_area, fill_holes)
        return judge_objects(sample.name, truth, without_void(found, void)), digest

    rules = {
        "class": class_name, "connectivity": connectivity, "minimum_area": minimum_area, "fill_holes": fill_holes, **RULES,
    }  # fmt: skip
    return each(dataset, one, failed), lambda digests: {**protocol_of(digests), "objects": rules}


def resampled_figures(pictures: Sequence[PictureObjects], weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """The figures of `ObjectScores`, (R,) each, of samples that hold each of N pictures as often as `weights` (R, N) say,
    one at least."""
    precisions = np.array([one.precision for one in pictures])
    known = ~np.isnan(precisions[:, 0])
    by_threshold = _over(weights @ np.nan_to_num(precisions), (weights @ known.astype(np.int64))[:, None])
    sums = np.array([(one.truth, one.predicted, one.splits, one.merges) for one in pictures])
    true, predicted, split, merged = (weights @ sums).astype(np.float64).T
    return {
        "SEG": _over(weights @ np.array([one.seg.sum() for one in pictures]), true),
        "AP": by_threshold.mean(1),
        "AP50": by_threshold[:, 0],
        "AP75": by_threshold[:, IOU_THRESHOLDS.index(0.75)],
        "true_objects": true / weights.sum(1),
        "predicted_objects": predicted / weights.sum(1),
        "splits": split,
        "merges": merged,
    }


def _over(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    found = np.full(part.shape, np.nan)
    np.divide(part, whole, out=found, where=np.broadcast_to(whole > 0, part.shape))
    return found


def judge_objects(name: str, truth: NDArray[Any], predicted: NDArray[Any]) -> PictureObjects:
    """The row of a picture whose objects are numbers in two maps (H, W), from 1, 0 elsewhere."""
    found = overlaps(truth, predicted)
    return PictureObjects(
        name, len(found.truth_areas), len(found.predicted_areas), seg(found),
        np.array([precision(found, threshold) for threshold in IOU_THRESHOLDS]), splits(found), merges(found),
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def print_objects(scores: ObjectScores) -> None:
    """The figures of objects, then split and protocol."""
    figures = scores.figures
    rows: list[tuple[str, ...]] = [(name, percent(figures[name])) for name in ("SEG", "AP", "AP50", "AP75")]
    rows += [(f"{kind} objects a picture", f"{figures[f'{kind}_objects']:.1f}") for kind in ("true", "predicted")]
    rows += [("true objects that are split", f"{figures['splits']:.0f}")]
    rows += [("objects that merge true ones", f"{figures['merges']:.0f}")]
    rules = scores.protocol["objects"]
    print_table((rules["class"], ""), rows)
    dropped = f", {rules['minimum_area']} pixels or more" if rules["minimum_area"] else ""
    filled = ", holes filled" if rules["fill_holes"] else ""
    said = f"{len(scores.pictures)} pictures, connectivity {rules['connectivity']}{dropped}{filled}"
    show(f"{said}; split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    print_intervals(scores.intervals)
