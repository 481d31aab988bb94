"""evaluate --cityscapes: a model, or masks of label ids, by the rules of Cityscapes' benchmark (see `cityscapes_iou`)."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import Dataset
from perpixel.datasets.cityscapes import TRAIN_IDS, Cityscapes, are_train_ids, train_ids
from perpixel.errors import DataError, UsageError
from perpixel.files import walk
from perpixel.images import read_labels_fast
from perpixel.judging.evaluate import Progress, answers
from perpixel.judging.intervals import Intervals, Replicates, of_figures, print_intervals
from perpixel.judging.protocol import Failed, hash_of, left_out, noting
from perpixel.measures.cityscapes import WIDTH, CityscapesCounts, Overlap, PictureCounts, count_picture, mean, vector_of
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.terminal import print_table, show
from perpixel.weights.model_file import Model

THREADS = 2
RULES = {
    "IoU": "TP / (TP + FP + FN) in label ids; pixels whose true label is not evaluated count nowhere",
    "iIoU": "pixels of an object weigh mean size of its class / its size in TP and FN; groups count in FP alone",
    "categories": "IoU of the labels that are evaluated; iIoU of all labels of human and of vehicle",
    "mean": "over classes or categories that are not nan",
    "script": "evalPixelLevelSemanticLabeling.py of cityscapesScripts 2.3.0",
}


@dataclass(frozen=True)
class CityscapesScores:
    """The judgement of a split: 19 classes and 7 categories in the order of the official table, the protocol, and if asked for
    the intervals of the figures."""

    counts: CityscapesCounts
    classes: dict[str, Overlap]
    categories: dict[str, Overlap]
    protocol: dict[str, Any]
    intervals: Intervals | None = None

    @property
    def figures(self) -> dict[str, float]:
        return figures_of(self.counts)

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: figures, classes, categories, pixel counts by label id, protocol and its hash; nan is null."""
        rows = {
            kind: {name: {"IoU": _finite(one.iou), "iIoU": _finite(one.iiou)} for name, one in found.items()}
            for kind, found in (("classes", self.classes), ("categories", self.categories))
        }
        return {
            "figures": {name: _finite(value) for name, value in self.figures.items()},
            **rows,
            "confusion": self.counts.confusion.tolist(),
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            **({} if self.intervals is None else {"bootstrap": self.intervals.to_json()}),
        }


def figures_of(counts: CityscapesCounts) -> dict[str, float]:
    """The four columns of the benchmark in 0..1, nan where undefined."""
    found = {"classes": counts.classes(), "categories": counts.categories()}
    return {f"{measure}_{kind}": mean(getattr(one, measure.lower()) for one in ones.values())
            for kind, ones in found.items() for measure in ("IoU", "iIoU")}  # fmt: skip


def evaluate_cityscapes(
    model_or_predictions: Model | str | Path,
    dataset: Dataset,
    progress: Progress | None = None,
    inference: Inference = PLAIN,
    bootstrap: int = 0,
    seed: int = 0,
    failed: Failed = None,
) -> CityscapesScores:
    """Judges a model, or a folder of masks of label ids, on a split of Cityscapes.

    `bootstrap` is the number of samples of pictures that intervals are made of, none with 0; see `bootstrap`.

    Masks lie anywhere below the folder and are named CITY_SEQUENCE_FRAME*.png, as for the benchmark's server. Raises UsageError
    for another data set or a view whose classes are no labels, DataError for a mask that is missing, there twice, of another
    size, or of other values, and what `evaluate` raises."""
    pictures, protocol_of = pictures_of(model_or_predictions, dataset, inference, failed)
    counts, digests = CityscapesCounts(), list[bytes]()
    replicates = Replicates(len(dataset), WIDTH, bootstrap, seed, np.float64) if bootstrap else None
    for picture, digest in pictures:
        counts.add(picture)
        if replicates is not None:
            replicates.add(len(digests), vector_of(picture))
        digests.append(digest)
        if progress is not None:
            progress(len(digests), len(dataset))
    if not isinstance(model_or_predictions, Model) and are_train_ids(counts.confusion.sum(0)):
        raise DataError(f"{model_or_predictions}: holds {TRAIN_IDS}.")
    sure = None
    if replicates is not None and not failed:
        sure = of_figures([figures_of(CityscapesCounts.of(sums)) for sums in replicates.sums], len(dataset), seed)
    more = left_out(failed, len(dataset), bootstrap)
    return CityscapesScores(counts, counts.classes(), counts.categories(), protocol_of(digests) | more, sure)


def pictures_of(
    model_or_predictions: Model | str | Path, dataset: Dataset, inference: Inference = PLAIN, failed: Failed = None
) -> tuple[Iterator[tuple[PictureCounts, bytes]], Callable[[Iterable[bytes]], dict[str, Any]]]:
    """The counts of each picture with the digest of its truth, in the order of the data set; and the protocol of those digests.

    Raises what `evaluate_cityscapes` does."""
    if not isinstance(dataset, Cityscapes):
        raise UsageError("the benchmark of Cityscapes judges Cityscapes alone; name it with --data, or leave --cityscapes out.")
    if any(len(values) > 1 for values in dataset.classes.values):
        raise UsageError("cityscapes8 has categories for classes, which are no labels; judge on cityscapes or cityscapes30.")
    answer, protocol_of = answers(model_or_predictions, dataset, inference)
    if isinstance(model_or_predictions, Model):
        threads, predict = 1, lambda index: dataset.classes.encode(answer(dataset.sample(index)).labels)
    else:
        folder = Path(model_or_predictions)
        names = _list_masks(folder)
        threads, predict = THREADS, lambda index: read_labels_fast(_mask(names, dataset.name(index), folder))
    def one(index: int) -> list[tuple[PictureCounts, bytes]]:
        with noting(dataset.name(index), failed):
            return [_count(dataset, predict, index)]
        return []

    return _counted(one, len(dataset), threads), lambda digests: {**protocol_of(digests), "cityscapes": RULES}


def _counted(
    count: Callable[[int], list[tuple[PictureCounts, bytes]]], pictures: int, threads: int
) -> Iterator[tuple[PictureCounts, bytes]]:
    with ThreadPoolExecutor(threads) as pool:  # decoding and counting leave Python free; a worker drops its picture
        try:
            yield from chain.from_iterable(pool.map(count, range(pictures)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _count(dataset: Cityscapes, predict: Callable[[int], NDArray[Any]], index: int) -> tuple[PictureCounts, bytes]:
    """The counts of one picture, and the digest of its truth."""
    truth, instances = dataset.label_ids(index), dataset.instance_ids(index)
    predicted = predict(index)
    try:
        counted = count_picture(truth, instances, predicted)
    except DataError as error:
        raise train_ids(predicted, dataset.name(index)) or DataError(f"{dataset.name(index)}: {error}") from error
    # Of values, not of how files hold them; and where they change, since hashing each pixel would take longer than counting it.
    starts = counted.starts
    digest = hashlib.sha256(f"{dataset.name(index)}\0{truth.shape}\0".encode())
    for values, kind in ((starts, "<i4"), (truth.ravel()[starts], "u1"), (instances.ravel()[starts], "<u2")):
        digest.update(np.ascontiguousarray(values, kind).data)
    return counted, digest.digest()


def _list_masks(folder: Path) -> list[tuple[str, str]]:
    """Name and path of every PNG below the folder, sorted."""
    return sorted((path.name, str(path)) for path in walk(folder) if path.suffix == ".png")


def _mask(names: list[tuple[str, str]], name: str, folder: Path) -> Path:
    first = bisect_left(names, (name, ""))
    after = next((i for i in range(first, len(names)) if not names[i][0].startswith(name)), len(names))
    if after - first == 1:
        return Path(names[first][1])
    if after == first:
        raise DataError(f"{folder}: holds no mask {name}*.png; predict it first.")
    raise DataError(f"{folder}: holds {names[first][1]} and {names[first + 1][1]} for the picture {name}; keep one.")


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def print_cityscapes(scores: CityscapesScores) -> None:
    """IoU and iIoU of classes, categories and their means with the three decimals of the benchmark, then split and protocol."""
    for kind, found in (("classes", scores.classes), ("categories", scores.categories)):
        rows: list[tuple[str, ...]] = [(name, f"{one.iou:.3f}", f"{one.iiou:.3f}") for name, one in found.items()]
        means = (f"{scores.figures[f'{measure}_{kind}']:.3f}" for measure in ("IoU", "iIoU"))
        print_table((kind, "IoU", "iIoU"), [*rows, ("mean", *means)])
        show()
    show(f"split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    print_intervals(scores.intervals, lambda value: f"{value:.3f}")
