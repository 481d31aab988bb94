"""Panoptic quality (Kirillov et al., CVPR 2019, equation 1; rules as in the authors' panopticapi, evaluation.py).

    counts = QualityCounts()
    for name in names: counts.add(true_ids, true_segments, predicted_ids, predicted_segments)      # one call a picture
    counts.quality()["person"].pq

A true and a predicted segment of one category match where their IoU is above 0.5; a segment has at most one such partner:

    PQ = sum of IoU over matches / (TP + FP / 2 + FN / 2) = SQ RQ,  SQ = mean IoU of matches,  RQ = TP / (TP + FP / 2 + FN / 2)

Void pixels of the truth do not count in the union. A true crowd is neither matched nor missed. A predicted segment without a
match is ignored where more than half of it lies on void and on crowds of its category; of several crowds panopticapi takes only
the last. The PQ of a data set is the mean over categories that truth or prediction have."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset, things_in, with_objects
from perpixel.datasets.coco import Coco, panoptic_ids
from perpixel.datasets.coco_annotations import read_panoptic
from perpixel.datasets.folder import Folder
from perpixel.errors import DataError, UsageError
from perpixel.measures.measure import (
    Better,
    Figures,
    FiguresOf,
    Measure,
    Needs,
    Pairs,
    Summary,
    Table,
    columns,
    percent,
    weighted_sums,
)
from perpixel.sample import PanopticMap, Prediction, Sample, Segment
from perpixel.version import VERSION

VOID = 0  # the id of pixels without a segment
MATCH = 0.5
THREADS = 2  # pictures that are read and counted at the same time
_NO_PICTURE, _ANY_CLASS = np.zeros((0, 0, 3), np.uint8), ClassTable.of(["segment"])


def _told_apart(dataset: Dataset) -> frozenset[int]:
    """The classes of objects, and those that no picture shows."""
    shown, counted = {dataset.classes.background}, set[int]()
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        shown |= {*np.unique(sample.labels).tolist()} if sample.labels is not None else set()
        counted |= {*sample.instances.class_ids.tolist()} if sample.instances is not None else set()
    return frozenset(id for id in range(len(dataset.classes)) if id in counted or id not in shown)


@dataclass(frozen=True)
class PanopticSample(Sample):
    """A picture whose `labels` are segment ids (H, W), with the segment of each id. `categories` are those of its data set, names
    by id; `things` are the ids of those that are things, None where the data set does not say. `map_name` is the name of its
    PNG, or of the picture."""

    segments: Sequence[Segment] = ()
    categories: Mapping[int, str] = field(default_factory=dict)
    things: frozenset[int] | None = None
    map_name: str = ""


@dataclass(frozen=True)
class SegmentsOf:
    """A split of a data set with objects as panoptic maps, whose categories are class ids.

    Each object is a segment. So are the other pixels of each class that is no thing; those of a thing are void."""

    dataset: Dataset
    things: frozenset[int]

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

    def sample(self, index: int) -> PanopticSample:
        sample = self.dataset.sample(index)
        if sample.labels is None or sample.instances is None:
            missing = "labels" if sample.labels is None else "instances"
            raise DataError(f"{sample.name}: has no {missing} to judge by; add them, or judge without --panoptic.")
        objects, classes = sample.instances, self.classes
        ids, numbers = objects.numbers.astype(np.int32), np.zeros(classes.void + 1, np.int32)
        shown = {*np.unique(ids).tolist()}  # an object may have no pixel, or lie behind others
        segments = [
            Segment(number, int(class_id), bool(crowd))
            for number, (class_id, crowd) in enumerate(zip(objects.class_ids, objects.crowd, strict=True), start=1)
            if number in shown
        ]
        stuff = np.where(ids == VOID, sample.labels, classes.void)
        for class_id in np.unique(stuff).tolist():
            if class_id != classes.void and class_id not in self.things:
                numbers[class_id] = len(objects.class_ids) + 1 + class_id
                segments.append(Segment(int(numbers[class_id]), class_id))
        names = dict(enumerate(classes.names))
        return PanopticSample(sample.name, sample.image, ids + numbers[stuff], None, segments, names, self.things, sample.name)


@dataclass(frozen=True)
class PanopticCounts:
    """`QualityCounts.vector` (4 C,) of a picture; all categories, names by id; and the ids of those that are things."""

    vector: NDArray[np.float64]
    categories: Mapping[int, str]
    things: frozenset[int] | None


@dataclass(frozen=True)
class PanopticQuality(Measure[PanopticCounts]):
    """PQ, SQ and RQ over all categories, over things, and over stuff: of a results file of COCO's form, or of the panoptic maps
    that labels and objects of two networks make."""

    name: ClassVar[str] = "panoptic"
    entry: ClassVar[str] = "panoptic"
    rules: ClassVar[Mapping[str, str]] = {
        "PQ": "sum of IoU over matches / (TP + FP / 2 + FN / 2); a match has IoU above 0.5 in one category",
        "void": "void pixels of the truth leave the union; "
        "found segments mostly on void or crowds of their category are passed over",
        "mean": "over categories that are in truth or found",
    }  # fmt: skip
    needs: ClassVar[Needs] = "segments"
    enough: ClassVar[int] = 100
    better: ClassVar[Mapping[str, Better]] = dict.fromkeys(
        [f"{figure}{part}" for part in ("", "_things", "_stuff") for figure in ("PQ", "SQ", "RQ")], "larger"
    )

    def truth(self, dataset: Dataset) -> Dataset:
        """The data set as panoptic maps. A folder's stuff are background and the classes that it shows without any object."""
        if isinstance(dataset, Coco) and dataset.view != "coco_panoptic":
            raise UsageError(f"{dataset.view}: is no set of panoptic maps; judge on coco_panoptic.")
        dataset = with_objects(dataset)
        things = None if isinstance(dataset, Folder) else things_in(dataset.classes)
        return SegmentsOf(dataset, _told_apart(dataset) if things is None else things)

    def files(self, results: Path, truth: Path) -> Pairs[PanopticCounts]:
        """PNGs lie in folders that have the names of the files without .json. Raises DataError also for a picture without a
        result."""
        true = read_panoptic(truth)
        predicted = read_panoptic(results, true)
        missing = [true.pictures[id].file_name for id in true.maps if id not in predicted.maps]
        if missing:
            message = f"has no result for {len(missing)} pictures of {true.path}, {missing[0]} first"
            raise DataError(f"{results}: {message}; predict them.")
        ids = [*true.maps]

        def read(index: int) -> tuple[PanopticSample, Prediction]:
            name, segments = true.maps[ids[index]]
            other_name, other_segments = predicted.maps[ids[index]]
            labels, other_labels = (panoptic_ids(file.path.with_suffix("") / map_name)
                                    for file, map_name in ((true, name), (predicted, other_name)))  # fmt: skip
            picture = true.pictures[ids[index]].file_name
            sample = PanopticSample(picture, _NO_PICTURE, labels, None, segments, true.categories, true.things, name)
            panoptic_map = PanopticMap(other_labels, tuple(other_segments), frozenset())
            return sample, Prediction(other_labels, _ANY_CLASS, panoptic=panoptic_map)

        def count(_: int, pair: tuple[PanopticSample, Prediction]) -> tuple[PanopticCounts, bytes]:
            try:
                return self.count(*pair)
            except DataError as error:
                raise DataError(f"{results}, picture {error}") from None

        def protocol(digests: Sequence[bytes]) -> dict[str, Any]:
            data = hashlib.sha256(b"".join(digests)).hexdigest()
            return {"perpixel": VERSION, "data": data, "pictures": sum(map(bool, digests)), **self.protocol()}

        names = [true.pictures[id].file_name for id in ids]
        return Pairs(names, [*true.categories.values()], protocol, read, count, THREADS)

    def count(self, truth: Sample, predicted: Prediction) -> tuple[PanopticCounts, bytes]:
        assert isinstance(truth, PanopticSample)
        assert truth.labels is not None
        panoptic_map = predicted.panoptic
        if panoptic_map is None:
            raise DataError(f"{truth.name}: no panoptic map is predicted; name a network of objects with --objects-by.")
        only_predicted = frozenset() if truth.things is None else panoptic_map.things - truth.things
        for segment in truth.segments:
            if segment.category in only_predicted:
                raise DataError(
                    f"{truth.name}: the truth tells no objects of {truth.categories[segment.category]} apart, and the prediction "
                    "does; name the classes of objects with --things."
                )
        listed = sorted((segment.id, segment.category, segment.crowd) for segment in truth.segments)
        digest = hashlib.sha256(f"{truth.map_name}\0{truth.labels.shape}\0{listed}".encode())
        digest.update(truth.labels.tobytes())
        counts = QualityCounts()
        try:
            counts.add(truth.labels, truth.segments, panoptic_map.ids, panoptic_map.segments)
        except DataError as error:
            raise DataError(f"{truth.name}: {error}") from None
        return PanopticCounts(counts.vector([*truth.categories]), truth.categories, truth.things), digest.digest()

    def figures(self, *sides: Sequence[PanopticCounts]) -> FiguresOf:
        rows = [row for side in sides for row in side]

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            sums = weighted_sums(weights, [row.vector for row in rows], np.float64)
            return Figures(columns(_figures(quality_of(vector, rows[0]), rows[0]) for vector in sums))

        return figures_of

    def summary(self, rows: Sequence[PanopticCounts], classes: Sequence[str], names: Sequence[str]) -> Summary:
        qualities = quality_of(np.sum([row.vector for row in rows], 0), rows[0])
        figures = _figures(qualities, rows[0])
        by_name = {rows[0].categories[id]: quality for id, quality in qualities.items()}
        known = [(name, quality) for name, quality in by_name.items() if not math.isnan(quality.pq)]
        lines = [
            (name, *map(percent, (quality.pq, quality.sq, quality.rq)),
             *map(str, (quality.matched, quality.wrong, quality.missed)))
            for name, quality in sorted(known, key=lambda item: item[1].pq)
        ]  # fmt: skip
        tables: list[Table | str] = [Table(("category", "PQ", "SQ", "RQ", "matched", "wrong", "missed"), lines)]
        parts = _parts(rows[0])
        if len(parts) > 1:
            means = [
                (part.removeprefix("_") or "all", *(percent(figures[f"{figure}{part}"]) for figure in ("PQ", "SQ", "RQ")),
                 str(sum(not math.isnan(qualities[id].pq) for id in ids)))
                for part, ids in parts.items()
            ]  # fmt: skip
            tables += ["", Table(("mean of", "PQ", "SQ", "RQ", "categories"), means)]
        note = ", ".join(f"{name} {percent(figures[name])}" for name in ("PQ", "SQ", "RQ"))
        details = {"categories": {name: asdict(quality) for name, quality in by_name.items()}}
        return Summary(figures, details, tables, note, by_name)


def quality_of(vector: NDArray[np.float64], row: PanopticCounts) -> dict[int, Quality]:
    """The quality of each category by its id, of the summed `vector` of pictures of the data set of `row`."""
    qualities: dict[int, Quality] = QualityCounts.of(vector, [*row.categories]).quality({id: id for id in row.categories})
    return qualities


def _figures(qualities: Mapping[int, Quality], row: PanopticCounts) -> dict[str, float]:
    """PQ, SQ and RQ; also those of things and of stuff where the data set says which categories are things."""
    figures = {}
    for part, ids in _parts(row).items():
        means = mean_quality(qualities[id] for id in ids)
        figures.update({f"{figure}{part}": mean for figure, mean in zip(("PQ", "SQ", "RQ"), means, strict=True)})
    return figures


def _parts(row: PanopticCounts) -> dict[str, list[int]]:
    """The category ids of all, of things and of stuff, by the suffix of a figure's name."""
    every = [*row.categories]
    if row.things is None:
        return {"": every}
    things = row.things
    return {"": every, "_things": [id for id in every if id in things], "_stuff": [id for id in every if id not in things]}


@dataclass(frozen=True)
class Quality:
    """PQ, SQ and RQ in 0..1, nan without a true or predicted segment (SQ also without a match); and the counts behind them."""

    pq: float
    sq: float
    rq: float
    matched: int
    wrong: int
    missed: int


@dataclass
class QualityCounts:
    """By category id: the sum of the IoUs of matches, and the numbers of matched, wrong and missed segments."""

    iou: dict[int, float] = field(default_factory=dict)
    matched: dict[int, int] = field(default_factory=dict)
    wrong: dict[int, int] = field(default_factory=dict)
    missed: dict[int, int] = field(default_factory=dict)

    def add(
        self, true_ids: NDArray[Any], true_segments: Iterable[Segment],
        predicted_ids: NDArray[Any], predicted_segments: Iterable[Segment],
    ) -> None:  # fmt: skip
        """Counts a picture: maps (H, W) of segment ids, `VOID` where there is no segment, and the segment of each id.

        Raises DataError for maps of two sizes, or an id without a segment or the reverse."""
        if true_ids.shape != predicted_ids.shape:
            sizes = f"{true_ids.shape}, the found one {predicted_ids.shape} (height, width)"
            raise DataError(f"the true map is {sizes}; make them equal.")
        shared = _shared(true_ids, predicted_ids)
        true_area, predicted_area = Counter[int](), Counter[int]()
        for (true_id, predicted_id), pixels in shared.items():
            true_area[true_id] += pixels
            predicted_area[predicted_id] += pixels
        truth, predicted = _segments(true_area, true_segments, "true"), _segments(predicted_area, predicted_segments, "found")
        matched_true, matched_predicted = set[int](), set[int]()
        for (true_id, predicted_id), pixels in shared.items():
            if true_id == VOID or predicted_id == VOID or truth[true_id].crowd:
                continue
            if truth[true_id].category != predicted[predicted_id].category:
                continue
            iou = pixels / (true_area[true_id] + predicted_area[predicted_id] - pixels - shared.get((VOID, predicted_id), 0))
            if iou > MATCH:
                category = truth[true_id].category
                self.matched[category] = self.matched.get(category, 0) + 1
                self.iou[category] = self.iou.get(category, 0.0) + iou
                matched_true.add(true_id)
                matched_predicted.add(predicted_id)
        crowds: dict[int, list[int]] = {}
        for segment in truth.values():
            if segment.crowd:
                crowds.setdefault(segment.category, []).append(segment.id)
            elif segment.id not in matched_true:
                self.missed[segment.category] = self.missed.get(segment.category, 0) + 1
        for segment in predicted.values():
            if segment.id in matched_predicted:
                continue
            ignored = sum(shared.get((id, segment.id), 0) for id in (VOID, *crowds.get(segment.category, ())))
            if ignored <= MATCH * predicted_area[segment.id]:
                self.wrong[segment.category] = self.wrong.get(segment.category, 0) + 1

    def vector(self, categories: Sequence[int]) -> NDArray[np.float64]:
        """(4 C,) the sum of IoU, matches, wrong and missed segments of `categories`, to be added to those of other pictures."""
        parts = (self.iou, self.matched, self.wrong, self.missed)
        return np.array([part.get(id, 0) for part in parts for id in categories], np.float64)

    @classmethod
    def of(cls, vector: NDArray[np.float64], categories: Sequence[int]) -> QualityCounts:
        """The counts of which this is the `vector`."""
        iou, *whole = (dict(zip(categories, part.tolist(), strict=True)) for part in vector.reshape(4, -1))
        return cls(iou, *({id: int(count) for id, count in part.items()} for part in whole))

    def quality(self, names: Mapping[int, Any] | None = None) -> dict[Any, Quality]:
        """The quality of each category by its id, or by its name in `names`; there a category without a segment has nan."""
        every = [*names] if names is not None else sorted({*self.matched, *self.wrong, *self.missed})
        return {names[id] if names is not None else id: self._of(id) for id in every}

    def _of(self, category: int) -> Quality:
        matched, wrong, missed = (part.get(category, 0) for part in (self.matched, self.wrong, self.missed))
        whole = matched + wrong / 2 + missed / 2
        if not whole:
            return Quality(math.nan, math.nan, math.nan, 0, 0, 0)
        total = self.iou.get(category, 0.0)
        return Quality(total / whole, total / matched if matched else math.nan, matched / whole, matched, wrong, missed)


def mean_quality(qualities: Iterable[Quality]) -> tuple[float, float, float]:
    """PQ, SQ and RQ as the mean over categories with a segment; SQ counts 0 where nothing matched, as in panopticapi."""
    known = [quality for quality in qualities if not math.isnan(quality.pq)]
    if not known:
        return math.nan, math.nan, math.nan
    columns = [(quality.pq, 0.0 if math.isnan(quality.sq) else quality.sq, quality.rq) for quality in known]
    pq, sq, rq = (sum(column) / len(known) for column in zip(*columns, strict=True))
    return pq, sq, rq


def _shared(true_ids: NDArray[Any], predicted_ids: NDArray[Any]) -> dict[tuple[int, int], int]:
    """The number of pixels that each pair of a true and a predicted id shares.

    Runs of equal pairs are sorted, not pixels: a panoptic map of 640 x 480 pixels has about 10,000 runs."""
    true, predicted = true_ids.ravel(), predicted_ids.ravel()
    starts = np.concatenate([[0], np.flatnonzero((true[1:] != true[:-1]) | (predicted[1:] != predicted[:-1])) + 1])
    true_values, true_places = np.unique(true[starts], return_inverse=True)
    predicted_values, predicted_places = np.unique(predicted[starts], return_inverse=True)
    pixels = np.bincount(true_places * len(predicted_values) + predicted_places, np.diff(starts, append=true.size))
    pairs = np.flatnonzero(pixels)
    return {
        (int(true_values[pair // len(predicted_values)]), int(predicted_values[pair % len(predicted_values)])): int(count)
        for pair, count in zip(pairs, pixels[pairs], strict=True)
    }


def _segments(areas: Mapping[int, int], segments: Iterable[Segment], which: str) -> dict[int, Segment]:
    listed = {segment.id: segment for segment in segments}
    shown = {*areas} - {VOID}
    if shown != {*listed}:
        strange = sorted(shown ^ {*listed})[0]
        raise DataError(f"the {which} map {'shows' if strange in shown else 'does not show'} segment {strange}, which is "
                        f"{'not ' if strange in shown else ''}listed; correct one of the two.")  # fmt: skip
    return listed
