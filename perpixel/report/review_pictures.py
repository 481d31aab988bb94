"""The pictures of a review's page: photos, truth and the masks of every network, with their scores, so that a number leads to the
pictures that made it.

Masks are class ids of shown pixels, compressed, which the page's script turns into colours and maps of errors."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.datasets import Dataset, open_dataset
from perpixel.errors import DataError, PerpixelError
from perpixel.images import read_labels
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.report.page import SIDE, data_url, shrunk
from perpixel.report.review_results import Review, Row

MOST_BYTES = 1_300_000  # of all masks in the page; where they are more, pictures are taken evenly
WORST = 3  # pictures that show where a network fails


@dataclass(frozen=True)
class Failure:
    """A picture in which a network has a low score, and its greatest confusion: which share of the pixels of the class `truth` is
    `taken` for another one."""

    picture: int
    iou: float
    truth: str
    taken: str
    share: float


@dataclass(frozen=True)
class Pictures:
    """`shown` are the places in the split of the pictures that the page holds, of `count`. `scores[name][picture]` are mIoU,
    pixel accuracy and the IoU of each class, nan where undefined. `truth_pixels` counts each class in the whole split."""

    count: int
    names: list[str]
    shown: list[int]
    scores: dict[str, NDArray[np.float64]]
    failures: dict[str, list[Failure]]
    truth_pixels: list[int]
    content: dict[str, Any]
    samples: list[tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]]  # photo, truth and the best network's mask

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first picture."""
        height, width = self.samples[0][0].shape[:2]
        return height, width


def pictures_of(review: Review, out: Path, root: str | Path | None = None) -> Pictures | None:
    """Reads the pictures of the review and the masks in `out/predictions`. None where the data set cannot be opened."""
    try:
        dataset = open_dataset(review.data, root=root, split=review.split)
    except PerpixelError:
        return None
    rows = [row for row in review.ranked() if (out / "predictions" / row.name).is_dir()]
    names = [dataset.name(index) for index in range(len(dataset))]
    truth_pixels = np.zeros(len(review.classes), np.int64)
    scores = {row.name: np.full((len(names), 2 + len(review.classes)), np.nan) for row in rows}
    confusions: dict[str, list[NDArray[np.int64] | None]] = {row.name: [] for row in rows}
    packed: list[dict[str, Any]] = []
    samples: list[tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]] = []
    for index in range(len(names)):
        photo, truth, masks, counts = _read(dataset, index, rows, out)
        truth_pixels += np.bincount(truth[truth < len(review.classes)].ravel().astype(np.intp), minlength=len(review.classes))
        for row in rows:
            matrix = counts.get(row.name)
            confusions[row.name].append(None if matrix is None else matrix.counts)
            if matrix is not None:
                scores[row.name][index] = [matrix.mean_iou(), matrix.pixel_accuracy(), *matrix.iou()]
        packed.append({
            "name": names[index], "photo": data_url(shrunk(Image.fromarray(photo), SIDE), ".jpg"),
            "truth": _packed(truth), "masks": [None if (mask := masks.get(row.name)) is None else _packed(mask) for row in rows],
        })  # fmt: skip
        if len(samples) < 1 or index == len(names) // 2:
            samples.append((photo, truth, masks[rows[0].name] if rows and rows[0].name in masks else truth))
    failures = {row.name: _failures(review.classes, scores[row.name], confusions[row.name]) for row in rows}
    wanted = {failure.picture for each in failures.values() for failure in each}
    shown = _chosen([sum(len(mask["ids"]) for mask in (one["truth"], *one["masks"]) if mask) for one in packed], wanted)
    content = {
        "void": dataset.classes.void, "colours": [list(colour) for colour in review.colours],
        "networks": [{"name": row.name, "title": row.shown_name} for row in rows],
        "pictures": [packed[place] for place in shown],
        "scores": {name: [_thousandths(each[place]) for place in shown] for name, each in scores.items()},
    }  # fmt: skip
    return Pictures(len(names), names, shown, scores, failures, truth_pixels.tolist(), content, samples)


def _read(
    dataset: Dataset, index: int, rows: Sequence[Row], out: Path
) -> tuple[NDArray[np.uint8], NDArray[Any], dict[str, NDArray[Any]], dict[str, ConfusionMatrix]]:
    """The photo, the truth, and the masks that there are and that fit, with their counts."""
    sample = dataset.sample(index)
    assert sample.labels is not None, "a review is judged on pictures with truth"
    masks, counts = {}, {}
    for row in rows:
        path = out / "predictions" / row.name / f"{sample.name}.png"
        if path.is_file():
            try:
                mask = read_labels(path)
                matrix = ConfusionMatrix(len(dataset.classes), dataset.classes.void)
                matrix.add(sample.labels, mask)
            except DataError:
                continue
            masks[row.name], counts[row.name] = mask, matrix
    return sample.image, sample.labels, masks, counts


def _packed(ids: NDArray[Any]) -> dict[str, Any]:
    """Class ids at the size that the page shows: little-endian numbers of `bytes` bytes, by zlib, as base64."""
    short = ids.dtype == np.uint8
    small = np.asarray(shrunk(Image.fromarray(ids if short else ids.astype(np.int32)), SIDE, sharp=True))
    plain = small.astype("u1" if short else "<u2")
    packed = base64.b64encode(zlib.compress(plain.tobytes(), 6)).decode()
    return {"size": list(plain.shape), "bytes": plain.itemsize, "ids": packed}


def _thousandths(values: NDArray[np.float64]) -> list[int]:
    """Shares in whole thousandths; -1 of an undefined one."""
    return [-1 if np.isnan(value) else round(1000 * value) for value in values.tolist()]


def _failures(
    classes: Sequence[str], scores: NDArray[np.float64], confusions: Sequence[NDArray[np.int64] | None]
) -> list[Failure]:
    """The pictures with the lowest mean IoU, the lowest first."""
    found = []
    for place in np.argsort(np.where(np.isnan(scores[:, 0]), np.inf, scores[:, 0]))[:WORST].tolist():
        counts = confusions[place]
        if counts is None or not counts.sum() > np.trace(counts):
            continue
        wrong = counts.copy()
        np.fill_diagonal(wrong, 0)
        truth, taken = divmod(int(wrong.argmax()), len(classes))
        share = wrong[truth, taken] / counts[truth].sum()
        found.append(Failure(place, float(scores[place, 0]), classes[truth], classes[taken], float(share)))
    return found


def _chosen(sizes: Sequence[int], wanted: set[int]) -> list[int]:
    """The places of the pictures that fit into the page: those that are wanted, and others evenly."""
    if sum(sizes) <= MOST_BYTES:
        return list(range(len(sizes)))
    left = MOST_BYTES - sum(sizes[place] for place in wanted)
    number = max(0, int(left / (sum(sizes) / len(sizes))))
    evenly = {int(place) for place in np.linspace(0, len(sizes) - 1, number)} if number else set()
    return sorted(evenly | wanted)
