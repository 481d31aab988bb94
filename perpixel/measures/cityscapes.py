"""IoU and iIoU of Cityscapes' benchmark of pixel-level labelling, for classes and for categories.

    IoU  = TP / (TP + FP + FN)          iIoU = iTP / (iTP + FP + iFN)

in pixels summed over all pictures, truth in the ids of `LABELS`. In iTP and iFN a pixel of an object weighs the mean size of the
class, `MEAN_SIZES`, over the size of that object, so that small objects count as much as large ones; pixels of groups are not in
them. For a category they hold the pixels of its objects that were taken for any label of it. Only classes with instances have an
iIoU, and categories all of whose labels have them.

Pixels whose truth is a label that is not evaluated count nowhere; a prediction of such a label is a miss. What has no pixel at
all is nan and leaves the mean. As evalPixelLevelSemanticLabeling.py of cityscapesScripts 2.3.0; sums are taken in its order, so
the last digit is equal too where pictures come in the same order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets.cityscapes_labels import CATEGORIES, DRAWN, PER_LABEL
from perpixel.errors import DataError
from perpixel.machines.compiled import compiled

MEAN_SIZES = {  # pixels of an object, over the fine training set; of the script
    "bicycle": 4672.3249222261, "caravan": 36771.8241758242, "motorcycle": 6298.7200839748, "rider": 3930.4788056518,
    "bus": 35732.1511111111, "train": 67583.7075812274, "car": 12794.0202738185, "person": 3462.4756337644,
    "truck": 27855.1264367816, "trailer": 16926.9763313609,
}  # fmt: skip
MEMBERS = {category: [label for label in DRAWN if label.category == category] for category in CATEGORIES}
EVALUATED = [label for label in DRAWN if not label.ignored]
JUDGED_CATEGORIES = [category for category in CATEGORIES if not all(label.ignored for label in MEMBERS[category])]
WITH_INSTANCES = [category for category in CATEGORIES if all(label.has_instances for label in MEMBERS[category])]
_WEIGHTED = [*(label.name for label in EVALUATED if label.has_instances), *WITH_INSTANCES]  # what has an iIoU
WIDTH = len(DRAWN) ** 2 + 2 * len(_WEIGHTED)
_CATEGORY_OF = np.array([CATEGORIES.index(label.category) for label in DRAWN], np.uint8)
_EIGHT, _FOUR = np.uint64(0x0101010101010101), np.uint64(0x0001000100010001)  # times a value: a word full of it
_HINT = "give masks of label ids 0..33, as labelIds.png has them, not train ids."


@dataclass(frozen=True)
class Overlap:
    """IoU and iIoU of one class or category in 0..1; nan where undefined."""

    iou: float
    iiou: float


@dataclass(frozen=True)
class PictureCounts:
    """One picture: pixels by true and predicted label id, int64 (34, 34); and for each object, in the order of its id, the name
    of its class, and maybe of its category, with its weighted hits and misses. `starts` are the pixels, counted along the rows,
    where the truth's label or instance id is not that of the pixel before: with the ids there they are the truth in short."""

    confusion: NDArray[np.int64]
    objects: tuple[tuple[str, float, float], ...]
    starts: NDArray[np.int32]


def count_picture(truth: NDArray[Any], instances: NDArray[Any], predicted: NDArray[Any]) -> PictureCounts:
    """Counts label ids and instance ids of the truth against label ids of the prediction, all (H, W).

    Raises DataError for unequal shapes, for values that are no whole numbers or no label ids, and for instance ids of labels
    that are evaluated and have no instances."""
    if instances.shape != truth.shape:
        raise DataError(f"instance ids have the shape {instances.shape}, label ids {truth.shape}; take both from one set.")
    if predicted.shape != truth.shape:
        raise DataError(f"truth has the shape {truth.shape}, the prediction {predicted.shape}; judge at the truth's size.")
    for what, ids in (("truth", truth), ("prediction", predicted)):
        if not np.issubdtype(ids.dtype, np.integer):
            raise DataError(f"{what}: label ids are whole numbers; found an array of {ids.dtype}.")
        if ids.size and (ids.max() >= len(DRAWN) or ids.min() < 0):
            row, column = (int(i) for i in np.argwhere((ids >= len(DRAWN)) | (ids < 0))[0])
            raise DataError(f"{what}: value {ids[row, column]} at row {row}, column {column} is no label; {_HINT}")
    numbers = np.ascontiguousarray(instances, np.uint16).ravel()
    found, wanted = (np.ascontiguousarray(ids, np.uint8).ravel() for ids in (predicted, truth))
    confusion, objects, starts = _count(wanted, numbers, found, _CATEGORY_OF)
    return PictureCounts(confusion, tuple(_weights(objects)), starts.copy())


class CityscapesCounts:
    """What the figures need, summed over pictures; its size does not depend on their number.

    `confusion` is that of `PictureCounts`, `weighted` has (iTP, iFN) by name of class or category."""

    def __init__(self) -> None:
        self.confusion = np.zeros((len(DRAWN), len(DRAWN)), np.int64)
        self.weighted: dict[str, tuple[float, float]] = {}

    def add(self, picture: PictureCounts) -> None:
        self.confusion += picture.confusion
        for name, hits, misses in picture.objects:
            before = self.weighted.get(name, (0.0, 0.0))
            self.weighted[name] = before[0] + hits, before[1] + misses

    @classmethod
    def of(cls, vector: NDArray[np.float64]) -> CityscapesCounts:
        """What `vector_of` of several pictures adds up to."""
        counts, cells = cls(), len(DRAWN) ** 2
        counts.confusion = vector[:cells].astype(np.int64).reshape(len(DRAWN), len(DRAWN))
        pairs = zip(_WEIGHTED, vector[cells:].reshape(-1, 2).tolist(), strict=True)
        counts.weighted = {name: (hits, misses) for name, (hits, misses) in pairs}
        return counts

    def classes(self) -> dict[str, Overlap]:
        """The 19 classes that are evaluated."""
        return {
            label.name: self._overlap([label.id], [label.id], [o.id for o in EVALUATED if o != label],
                                      label.name if label.has_instances else None)
            for label in EVALUATED
        }  # fmt: skip

    def categories(self) -> dict[str, Overlap]:
        """The 7 categories that are evaluated. Their IoU knows only the labels that are evaluated, their iIoU all."""
        found = {}
        for category in JUDGED_CATEGORIES:
            own = [label.id for label in MEMBERS[category] if not label.ignored]
            others = [label.id for label in EVALUATED if label.category != category]
            every = [label.id for label in MEMBERS[category]]
            found[category] = self._overlap(own, every, others, category if category in WITH_INSTANCES else None)
        return found

    def _overlap(self, own: Sequence[int], taken: Sequence[int], others: Sequence[int], weighted: str | None) -> Overlap:
        """`own` are the labels of IoU's hits, misses and false alarms; `taken` those of iIoU's false alarms, on `others`."""
        counts = self.confusion
        hits = int(counts[np.ix_(own, own)].sum())
        misses = int(counts[own].sum()) - hits
        alarms = int(counts[np.ix_(others, own)].sum())
        iou, iiou = _ratio(hits, hits + alarms + misses), math.nan
        if weighted is not None:
            weighed_hits, weighed_misses = self.weighted.get(weighted, (0.0, 0.0))
            iiou = _ratio(weighed_hits, weighed_hits + int(counts[np.ix_(others, taken)].sum()) + weighed_misses)
        return Overlap(iou, iiou)


def vector_of(picture: PictureCounts) -> NDArray[np.float64]:
    """All that the figures need of a picture, (`WIDTH`,), to be added to that of others."""
    weighted = np.zeros((len(_WEIGHTED), 2))
    for name, hits, misses in picture.objects:
        weighted[_WEIGHTED.index(name)] += hits, misses
    return np.concatenate([picture.confusion.ravel(), weighted.ravel()], dtype=np.float64)


def mean(values: Iterable[float]) -> float:
    """Of those that are not nan; nan without any."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _weights(counted: NDArray[np.int64]) -> Iterable[tuple[str, float, float]]:
    """Name of a class or category, weighted hits and misses, for each object in the order of its id; `counted` as of `_count`."""
    for number in np.flatnonzero(counted[:, 0]).tolist():
        label = DRAWN[number // PER_LABEL] if number // PER_LABEL < len(DRAWN) else None
        if label is not None and label.ignored:
            continue
        if label is None or not label.has_instances:
            named = f"label {number // PER_LABEL}" + (f", {label.name}, which has no instances" if label else ", unknown")
            raise DataError(f"the instance id {number} is of {named}; take instanceIds.png from Cityscapes' archive again.")
        size, hits, of_category = counted[number].tolist()
        weight = MEAN_SIZES[label.name] / float(size)
        yield label.name, float(hits) * weight, float(size - hits) * weight
        if label.category in WITH_INSTANCES:
            yield label.category, float(of_category) * weight, float(size - of_category) * weight


@compiled()
def _count(truth: Any, instances: Any, predicted: Any, category_of: Any) -> Any:
    """Pixels by true and predicted label, (34, 34), and by instance id above 1000, (65536, 3): all, those of its label in the
    prediction, those of its label's category; and `starts` of `PictureCounts`.

    Neighbours are mostly equal in all three arrays: words full of one value are counted together, other pixels one by one."""
    labels = len(category_of)
    confusion, objects = np.zeros((labels, labels), np.int64), np.zeros((65536, 3), np.int64)
    starts, count = np.empty(truth.size, np.int32), 0
    whole = truth.size // 8 * 8
    words, words_found = truth[:whole].view(np.uint64), predicted[:whole].view(np.uint64)
    words_of_numbers = instances[:whole].view(np.uint64)
    i = 0
    while i < truth.size:
        eight, eight_found, four = truth[i] * _EIGHT, predicted[i] * _EIGHT, instances[i] * _FOUR
        w = i >> 3
        while (w < len(words) and words[w] == eight and words_found[w] == eight_found
               and words_of_numbers[2 * w] == four and words_of_numbers[2 * w + 1] == four):  # fmt: skip
            w += 1
        full = w << 3
        end, pixels = (i + 1, full - i) if full > i else (min(i + 8, truth.size), 1)
        for k in range(i, end):
            label, number, found = truth[k], instances[k], predicted[k]
            starts[count] = k
            count += k == 0 or label != truth[k - 1] or number != instances[k - 1]
            confusion[label, found] += pixels
            if number > 1000:
                own = number // 1000
                objects[number, 0] += pixels
                objects[number, 1] += pixels if found == own else 0
                objects[number, 2] += pixels if own < labels and category_of[found] == category_of[own] else 0
        i = max(end, full)
    return confusion, objects, starts[:count]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
