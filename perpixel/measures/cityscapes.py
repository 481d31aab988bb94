"""IoU and iIoU of Cityscapes' benchmark of pixel-level labelling, for classes and for categories.

    IoU  = TP / (TP + FP + FN)          iIoU = iTP / (iTP + FP + iFN)

Pixels are summed over all pictures; the truth has the ids of `LABELS`. In iTP and iFN a pixel of an object has the weight (mean
size of its class, `MEAN_SIZES`) / (size of the object), so that small objects count as much as large ones; pixels of groups are
not in iTP and iFN. For a category, iTP are the pixels of its objects that are predicted as any label of the category. Classes
with instances have an iIoU, and categories whose labels all have instances.

Pixels whose true label is not evaluated count nowhere; a prediction of such a label is a miss. A class or category without any
pixel is nan and leaves the mean. The rules are those of evalPixelLevelSemanticLabeling.py of cityscapesScripts 2.3.0. Sums are
taken in the order of that script, so the last digit is equal too where pictures come in the same order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset
from perpixel.datasets.cityscapes import TRAIN_IDS, Cityscapes, are_train_ids, train_ids
from perpixel.datasets.cityscapes_labels import CATEGORIES, DRAWN, PER_LABEL
from perpixel.errors import DataError, UsageError
from perpixel.machines.compiled import compiled
from perpixel.measures.measure import Better, Figures, FiguresOf, Measure, Needs, Summary, Table, columns, weighted_sums
from perpixel.sample import Prediction, Sample

MEAN_SIZES = {  # mean pixels of an object in the fine training set, from the script
    "bicycle": 4672.3249222261, "caravan": 36771.8241758242, "motorcycle": 6298.7200839748, "rider": 3930.4788056518,
    "bus": 35732.1511111111, "train": 67583.7075812274, "car": 12794.0202738185, "person": 3462.4756337644,
    "truck": 27855.1264367816, "trailer": 16926.9763313609,
}  # fmt: skip
MEMBERS = {category: [label for label in DRAWN if label.category == category] for category in CATEGORIES}
EVALUATED = [label for label in DRAWN if not label.ignored]
JUDGED_CATEGORIES = [category for category in CATEGORIES if not all(label.ignored for label in MEMBERS[category])]
WITH_INSTANCES = [category for category in CATEGORIES if all(label.has_instances for label in MEMBERS[category])]
_WEIGHTED = [*(label.name for label in EVALUATED if label.has_instances), *WITH_INSTANCES]  # classes and categories with an iIoU
WIDTH = len(DRAWN) ** 2 + 2 * len(_WEIGHTED)
_CATEGORY_OF = np.array([CATEGORIES.index(label.category) for label in DRAWN], np.uint8)
_EIGHT, _FOUR = np.uint64(0x0101010101010101), np.uint64(0x0001000100010001)  # times a value: a word that repeats the value
_HINT = "give masks of label ids 0..33, as labelIds.png has them, not train ids."


@dataclass(frozen=True)
class Overlap:
    """IoU and iIoU of one class or category in 0..1; nan where undefined."""

    iou: float
    iiou: float


@dataclass(frozen=True)
class PictureCounts:
    """The counts of one picture. `confusion`: pixels by true and predicted label id, int64 (34, 34). `objects`: for each
    object, in the order of ids, the name of its class with weighted hits and misses; then the same with the name of its
    category, if this has an iIoU. `starts`: pixels, counted along the rows, whose true label or instance id differs from the
    pixel before; with the ids at these pixels they describe the whole truth."""

    confusion: NDArray[np.int64]
    objects: tuple[tuple[str, float, float], ...]
    starts: NDArray[np.int32]


@dataclass(frozen=True)
class LabelIds(Sample):
    """A picture of Cityscapes whose `labels` are label ids 0..33, and `instance_ids` those of instanceIds.png, both (H, W)."""

    instance_ids: NDArray[Any] | None = None


@dataclass(frozen=True)
class LabelIdsOf:
    """A split of Cityscapes in label ids. `without_picture` reads no picture, since masks are judged without."""

    dataset: Cityscapes

    @property
    def classes(self) -> ClassTable:
        return self.dataset.classes

    @property
    def split(self) -> str:
        return self.dataset.split

    @property
    def splits(self) -> tuple[str, ...]:
        return self.dataset.splits

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        return self.dataset.name(index)

    def sample(self, index: int) -> LabelIds:
        return replace(self.without_picture(index), image=self.dataset.sample(index).image)

    def without_picture(self, index: int) -> LabelIds:
        labels = self.dataset.label_ids(index)
        return LabelIds(self.name(index), np.zeros((*labels.shape, 0), np.uint8), labels, None, self.dataset.instance_ids(index))


@dataclass(frozen=True)
class CityscapesIou(Measure[PictureCounts]):
    """Cityscapes' benchmark, of predictions in label ids."""

    name: ClassVar[str] = "cityscapes"
    entry: ClassVar[str] = "cityscapes"
    rules: ClassVar[Mapping[str, str]] = {
        "IoU": "TP / (TP + FP + FN) in label ids; pixels whose true label is not evaluated count nowhere",
        "iIoU": "pixels of an object weigh mean size of its class / its size in TP and FN; groups count in FP alone",
        "categories": "IoU of the labels that are evaluated; iIoU of all labels of human and of vehicle",
        "mean": "over classes or categories that are not nan",
        "script": "evalPixelLevelSemanticLabeling.py of cityscapesScripts 2.3.0",
    }
    needs: ClassVar[Needs] = "label ids"
    better: ClassVar[Mapping[str, Better]] = dict.fromkeys(
        ("IoU_classes", "iIoU_classes", "IoU_categories", "iIoU_categories"), "larger"
    )
    decimals: ClassVar[Mapping[str, int]] = {"": 3}
    compared_in_percent: ClassVar[bool] = True
    at_once: ClassVar[int | None] = None

    def truth(self, dataset: Dataset) -> Dataset:
        if not isinstance(dataset, Cityscapes):
            raise UsageError(
                "the benchmark of Cityscapes judges Cityscapes alone; name it with --data, or leave --cityscapes out."
            )
        if any(len(values) > 1 for values in dataset.classes.values):
            raise UsageError("cityscapes8 has categories for classes, which are no labels; judge on cityscapes or cityscapes30.")
        return LabelIdsOf(dataset)

    def count(self, truth: Sample, predicted: Prediction) -> tuple[PictureCounts, bytes]:
        assert isinstance(truth, LabelIds)
        assert truth.labels is not None
        assert truth.instance_ids is not None
        try:
            counted = count_picture(truth.labels, truth.instance_ids, predicted.labels)
        except DataError as error:
            raise train_ids(predicted.labels, truth.name) or DataError(f"{truth.name}: {error}") from error
        # The digest is of values, not of files; and of the pixels where values change, because hashing every pixel takes longer
        # than counting.
        starts = counted.starts
        digest = hashlib.sha256(f"{truth.name}\0{truth.labels.shape}\0".encode())
        held = ((starts, "<i4"), (truth.labels.ravel()[starts], "u1"), (truth.instance_ids.ravel()[starts], "<u2"))
        for values, kind in held:
            digest.update(np.ascontiguousarray(values, kind).data)
        return replace(counted, starts=starts[:0]), digest.digest()

    def figures(self, *sides: Sequence[PictureCounts]) -> FiguresOf:
        """The four columns of the benchmark in 0..1, nan where undefined."""
        vectors = [vector_of(row) for side in sides for row in side]

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            sums = weighted_sums(weights, vectors, np.float64)
            return Figures(columns(CityscapesCounts.of(vector).figures() for vector in sums))

        return figures_of

    def summary(self, rows: Sequence[PictureCounts], classes: Sequence[str], names: Sequence[str]) -> Summary:
        counts = counts_of(rows)
        overlaps, figures = {"classes": counts.classes(), "categories": counts.categories()}, counts.figures()
        tables: list[Table | str] = []
        for kind, by_name in overlaps.items():
            lines = [(name, f"{overlap.iou:.3f}", f"{overlap.iiou:.3f}") for name, overlap in by_name.items()]
            mean_of_all = ("mean", *(f"{figures[f'{measure}_{kind}']:.3f}" for measure in ("IoU", "iIoU")))
            tables += [Table((kind, "IoU", "iIoU"), [*lines, mean_of_all]), ""]
        details = {
            kind: {name: {"IoU": overlap.iou, "iIoU": overlap.iiou} for name, overlap in by_name.items()}
            for kind, by_name in overlaps.items()
        }
        return Summary(figures, {**details, "confusion": counts.confusion.tolist()}, tables, "", counts)

    def doubt(self, rows: Sequence[PictureCounts]) -> str | None:
        return f"holds {TRAIN_IDS}." if are_train_ids(counts_of(rows).confusion.sum(0)) else None


def counts_of(rows: Sequence[PictureCounts]) -> CityscapesCounts:
    """The counts of pictures, added object by object in their order, as the official script does."""
    counts = CityscapesCounts()
    for row in rows:
        counts.add(row)
    return counts


def count_picture(truth: NDArray[Any], instances: NDArray[Any], predicted: NDArray[Any]) -> PictureCounts:
    """Counts label ids and instance ids of the truth against label ids of the prediction, all (H, W).

    Raises DataError for unequal shapes, for values that are no whole numbers or no label ids, and for instance ids of labels
    that are evaluated and have no instances."""
    if instances.shape != truth.shape:
        raise DataError(f"instance ids have the shape {instances.shape}, label ids {truth.shape}; take both from one set.")
    if predicted.shape != truth.shape:
        raise DataError(f"truth has the shape {truth.shape}, the prediction {predicted.shape}; judge at the truth's size.")
    for which, ids in (("truth", truth), ("prediction", predicted)):
        if not np.issubdtype(ids.dtype, np.integer):
            raise DataError(f"{which}: label ids are whole numbers; found an array of {ids.dtype}.")
        if ids.size and (ids.max() >= len(DRAWN) or ids.min() < 0):
            row, column = (int(i) for i in np.argwhere((ids >= len(DRAWN)) | (ids < 0))[0])
            raise DataError(f"{which}: value {ids[row, column]} at row {row}, column {column} is no label; {_HINT}")
    numbers = np.ascontiguousarray(instances, np.uint16).ravel()
    true_ids, predicted_ids = (np.ascontiguousarray(ids, np.uint8).ravel() for ids in (truth, predicted))
    confusion, objects, starts = _count(true_ids, numbers, predicted_ids, _CATEGORY_OF)
    return PictureCounts(confusion, tuple(_weights(objects)), starts.copy())


class CityscapesCounts:
    """The counts that the figures need, summed over pictures; their size does not depend on the number of pictures.

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
        """The counts of a sum of `vector_of` over pictures."""
        counts, cells = cls(), len(DRAWN) ** 2
        counts.confusion = vector[:cells].astype(np.int64).reshape(len(DRAWN), len(DRAWN))
        pairs = zip(_WEIGHTED, vector[cells:].reshape(-1, 2).tolist(), strict=True)
        counts.weighted = {name: (hits, misses) for name, (hits, misses) in pairs}
        return counts

    def figures(self) -> dict[str, float]:
        """The four columns of the benchmark in 0..1, nan where undefined."""
        overlaps = {"classes": self.classes(), "categories": self.categories()}
        return {f"{measure}_{kind}": mean(getattr(overlap, measure.lower()) for overlap in by_name.values())
                for kind, by_name in overlaps.items() for measure in ("IoU", "iIoU")}  # fmt: skip

    def classes(self) -> dict[str, Overlap]:
        """The 19 classes that are evaluated."""
        return {
            label.name: self._overlap([label.id], [label.id], [o.id for o in EVALUATED if o != label],
                                      label.name if label.has_instances else None)
            for label in EVALUATED
        }  # fmt: skip

    def categories(self) -> dict[str, Overlap]:
        """The 7 categories that are evaluated. Their IoU counts evaluated labels only, their iIoU all labels."""
        overlaps = {}
        for category in JUDGED_CATEGORIES:
            own = [label.id for label in MEMBERS[category] if not label.ignored]
            others = [label.id for label in EVALUATED if label.category != category]
            every = [label.id for label in MEMBERS[category]]
            overlaps[category] = self._overlap(own, every, others, category if category in WITH_INSTANCES else None)
        return overlaps

    def _overlap(self, own: Sequence[int], taken: Sequence[int], others: Sequence[int], weighted: str | None) -> Overlap:
        """The IoU of the labels `own`. Predictions of the labels `taken` on pixels of `others` are the false alarms of iIoU."""
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
    """The counts of a picture as one vector (`WIDTH`,), so that those of several pictures can be added."""
    weighted = np.zeros((len(_WEIGHTED), 2))
    for name, hits, misses in picture.objects:
        weighted[_WEIGHTED.index(name)] += hits, misses
    return np.concatenate([picture.confusion.ravel(), weighted.ravel()], dtype=np.float64)


def mean(values: Iterable[float]) -> float:
    """The mean of the values that are not nan; nan where all are."""
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
    """Pixels by true and predicted label, (34, 34); pixels by instance id above 1000, (65536, 3): all, those predicted as the
    object's label, those predicted as a label of its category; and `starts` of `PictureCounts`.

    Neighbours are mostly equal in all three arrays: words of one repeated value are counted together, other pixels one by one."""
    labels = len(category_of)
    confusion, objects = np.zeros((labels, labels), np.int64), np.zeros((65536, 3), np.int64)
    starts, count = np.empty(truth.size, np.int32), 0
    whole = truth.size // 8 * 8
    words, predicted_words = truth[:whole].view(np.uint64), predicted[:whole].view(np.uint64)
    words_of_numbers = instances[:whole].view(np.uint64)
    i = 0
    while i < truth.size:
        eight, predicted_eight, four = truth[i] * _EIGHT, predicted[i] * _EIGHT, instances[i] * _FOUR
        w = i >> 3
        while (w < len(words) and words[w] == eight and predicted_words[w] == predicted_eight
               and words_of_numbers[2 * w] == four and words_of_numbers[2 * w + 1] == four):  # fmt: skip
            w += 1
        full = w << 3
        end, pixels = (i + 1, full - i) if full > i else (min(i + 8, truth.size), 1)
        for k in range(i, end):
            label, number, predicted_label = truth[k], instances[k], predicted[k]
            starts[count] = k
            count += k == 0 or label != truth[k - 1] or number != instances[k - 1]
            confusion[label, predicted_label] += pixels
            if number > 1000:
                own = number // 1000
                objects[number, 0] += pixels
                objects[number, 1] += pixels if predicted_label == own else 0
                objects[number, 2] += pixels if own < labels and category_of[predicted_label] == category_of[own] else 0
        i = max(end, full)
    return confusion, objects, starts[:count]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
