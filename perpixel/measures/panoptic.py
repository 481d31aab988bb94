"""Panoptic quality (Kirillov et al., CVPR 2019, equation 1; rules as in the authors' panopticapi, evaluation.py).

    counts = QualityCounts()
    for name in names: counts.add(truth_ids, truth_segments, found_ids, found_segments)      # a picture each
    counts.quality()["person"].pq

A true and a found segment of one category match where their IoU is above 0.5, of which there is at most one each:

    PQ = sum of IoU over matches / (TP + FP / 2 + FN / 2) = SQ RQ,  SQ = mean IoU of matches,  RQ = TP / (TP + FP / 2 + FN / 2)

Void pixels of the truth do not count in the union. A true crowd is neither matched nor missed; a found segment that is not
matched is passed over where more than half of it lies on void and crowds of its category (of several crowds panopticapi takes the
last alone). The PQ of a set is the mean over categories that are in truth or found."""

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
from perpixel.datasets.coco import panoptic_ids
from perpixel.datasets.coco_annotations import Segment, read_panoptic
from perpixel.errors import DataError
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
from perpixel.sample import Prediction, Sample
from perpixel.version import VERSION

VOID = 0  # the id of pixels without a segment
MATCH = 0.5
THREADS = 2  # pictures that are read and counted at the same time
_NO_PICTURE, _ANY_CLASS = np.zeros((0, 0, 3), np.uint8), ClassTable.of(["segment"])


@dataclass(frozen=True)
class PanopticSample(Sample):
    """A picture whose `labels` are segment ids (H, W), with the segment of each id; and the categories of its data set, names by
    id, and which of them are things, none where nobody says. `map_name` is the name of its PNG."""

    segments: Sequence[Segment] = ()
    categories: Mapping[int, str] = field(default_factory=dict)
    things: frozenset[int] | None = None
    map_name: str = ""


@dataclass(frozen=True)
class PanopticPrediction(Prediction):
    """A picture whose `labels` are segment ids (H, W), with the segment of each id. `where` names it in errors."""

    segments: Sequence[Segment] = ()
    where: str = ""


@dataclass(frozen=True)
class PanopticCounts:
    """`QualityCounts.vector` (4 C,) of a picture for all categories, names by id, and which of them are things."""

    vector: NDArray[np.float64]
    categories: Mapping[int, str]
    things: frozenset[int] | None


@dataclass(frozen=True)
class PanopticQuality(Measure[PanopticCounts]):
    """PQ, SQ and RQ of a results file of COCO's form: over all categories, over things, and over stuff."""

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

    def files(self, results: Path, truth: Path) -> Pairs[PanopticCounts]:
        """PNGs lie in folders that are called like the files without .json. Raises DataError too for a picture without result."""
        true = read_panoptic(truth)
        predicted = read_panoptic(results, true)
        missing = [true.pictures[id].file_name for id in true.maps if id not in predicted.maps]
        if missing:
            message = f"has no result for {len(missing)} pictures of {true.path}, {missing[0]} first"
            raise DataError(f"{results}: {message}; predict them.")
        ids = [*true.maps]

        def read(index: int) -> tuple[PanopticSample, PanopticPrediction]:
            name, segments = true.maps[ids[index]]
            other_name, other_segments = predicted.maps[ids[index]]
            labels, other_labels = (panoptic_ids(file.path.with_suffix("") / map_name)
                                    for file, map_name in ((true, name), (predicted, other_name)))  # fmt: skip
            picture = true.pictures[ids[index]].file_name
            sample = PanopticSample(picture, _NO_PICTURE, labels, None, segments, true.categories, true.things, name)
            return sample, PanopticPrediction(
                other_labels, _ANY_CLASS, segments=other_segments, where=f"{results}, picture {picture}"
            )

        def protocol(digests: Sequence[bytes]) -> dict[str, Any]:
            data = hashlib.sha256(b"".join(digests)).hexdigest()
            return {"perpixel": VERSION, "data": data, "pictures": sum(map(bool, digests)), **self.protocol()}

        names = [true.pictures[id].file_name for id in ids]
        return Pairs(names, [*true.categories.values()], protocol, read, lambda _, pair: self.count(*pair), THREADS)

    def count(self, truth: Sample, predicted: Prediction) -> tuple[PanopticCounts, bytes]:
        assert isinstance(truth, PanopticSample)
        assert isinstance(predicted, PanopticPrediction)
        assert truth.labels is not None
        listed = sorted((segment.id, segment.category, segment.crowd) for segment in truth.segments)
        digest = hashlib.sha256(f"{truth.map_name}\0{truth.labels.shape}\0{listed}".encode())
        digest.update(truth.labels.tobytes())
        counts = QualityCounts()
        try:
            counts.add(truth.labels, truth.segments, predicted.labels, predicted.segments)
        except DataError as error:
            raise DataError(f"{predicted.where}: {error}") from None
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
    """PQ, SQ and RQ, and where things are known those of things and of stuff."""
    figures = {}
    for part, ids in _parts(row).items():
        means = mean_quality(qualities[id] for id in ids)
        figures.update({f"{figure}{part}": mean for figure, mean in zip(("PQ", "SQ", "RQ"), means, strict=True)})
    return figures


def _parts(row: PanopticCounts) -> dict[str, list[int]]:
    """Category ids by the end of a figure's name."""
    every = [*row.categories]
    if row.things is None:
        return {"": every}
    things = row.things
    return {"": every, "_things": [id for id in every if id in things], "_stuff": [id for id in every if id not in things]}


@dataclass(frozen=True)
class Quality:
    """PQ, SQ and RQ in 0..1, nan where no segment is in truth or found (SQ also without a match); and what they come from."""

    pq: float
    sq: float
    rq: float
    matched: int
    wrong: int
    missed: int


@dataclass
class QualityCounts:
    """Matches with the sum of their IoU, wrong and missed segments by category id."""

    iou: dict[int, float] = field(default_factory=dict)
    matched: dict[int, int] = field(default_factory=dict)
    wrong: dict[int, int] = field(default_factory=dict)
    missed: dict[int, int] = field(default_factory=dict)

    def add(
        self, true_ids: NDArray[Any], true_segments: Iterable[Segment], found_ids: NDArray[Any], found_segments: Iterable[Segment]
    ) -> None:
        """Counts a picture: ids (H, W) of whole numbers, `VOID` where there is no segment, and the segment of each id.

        Raises DataError for maps of two sizes, or an id without a segment or the reverse."""
        if true_ids.shape != found_ids.shape:
            sizes = f"{true_ids.shape}, the found one {found_ids.shape} (height, width)"
            raise DataError(f"the true map is {sizes}; make them equal.")
        shared = _shared(true_ids, found_ids)
        true_area, found_area = Counter[int](), Counter[int]()
        for (a, b), both in shared.items():
            true_area[a] += both
            found_area[b] += both
        truth, found = _segments(true_area, true_segments, "true"), _segments(found_area, found_segments, "found")
        seen_true, seen_found = set[int](), set[int]()
        for (a, b), both in shared.items():
            if a == VOID or b == VOID or truth[a].crowd or truth[a].category != found[b].category:
                continue
            iou = both / (true_area[a] + found_area[b] - both - shared.get((VOID, b), 0))
            if iou > MATCH:
                category = truth[a].category
                self.matched[category] = self.matched.get(category, 0) + 1
                self.iou[category] = self.iou.get(category, 0.0) + iou
                seen_true.add(a)
                seen_found.add(b)
        crowds: dict[int, list[int]] = {}
        for one in truth.values():
            if one.crowd:
                crowds.setdefault(one.category, []).append(one.id)
            elif one.id not in seen_true:
                self.missed[one.category] = self.missed.get(one.category, 0) + 1
        for one in found.values():
            if one.id in seen_found:
                continue
            nowhere = sum(shared.get((id, one.id), 0) for id in (VOID, *crowds.get(one.category, ())))
            if nowhere <= MATCH * found_area[one.id]:
                self.wrong[one.category] = self.wrong.get(one.category, 0) + 1

    def vector(self, categories: Sequence[int]) -> NDArray[np.float64]:
        """(4 C,) the sum of IoU, matches, wrong and missed segments of `categories`, to be added to those of other pictures."""
        parts = (self.iou, self.matched, self.wrong, self.missed)
        return np.array([part.get(id, 0) for part in parts for id in categories], np.float64)

    @classmethod
    def of(cls, vector: NDArray[np.float64], categories: Sequence[int]) -> QualityCounts:
        """The counts whose `vector` it is."""
        iou, *whole = (dict(zip(categories, part.tolist(), strict=True)) for part in vector.reshape(4, -1))
        return cls(iou, *({id: int(count) for id, count in part.items()} for part in whole))

    def quality(self, names: Mapping[int, Any] | None = None) -> dict[Any, Quality]:
        """By category id, or by its name in `names`, whose categories without a segment get nan."""
        every = [*names] if names is not None else sorted({*self.matched, *self.wrong, *self.missed})
        return {names[id] if names is not None else id: self._of(id) for id in every}

    def _of(self, category: int) -> Quality:
        matched, wrong, missed = (part.get(category, 0) for part in (self.matched, self.wrong, self.missed))
        whole = matched + wrong / 2 + missed / 2
        if not whole:
            return Quality(math.nan, math.nan, math.nan, 0, 0, 0)
        total = self.iou.get(category, 0.0)
        return Quality(total / whole, total / matched if matched else math.nan, matched / whole, matched, wrong, missed)


def mean_quality(found: Iterable[Quality]) -> tuple[float, float, float]:
    """PQ, SQ and RQ as the mean over categories with a segment; SQ counts 0 where nothing matched, as in panopticapi."""
    known = [one for one in found if not math.isnan(one.pq)]
    if not known:
        return math.nan, math.nan, math.nan
    columns = [(one.pq, 0.0 if math.isnan(one.sq) else one.sq, one.rq) for one in known]
    pq, sq, rq = (sum(column) / len(known) for column in zip(*columns, strict=True))
    return pq, sq, rq


def _shared(true_ids: NDArray[Any], found_ids: NDArray[Any]) -> dict[tuple[int, int], int]:
    """How many pixels each pair of a true and a found id shares.

    Runs of equal pairs are sorted, not pixels: a panoptic map of 640 x 480 pixels has some 10,000."""
    true, found = true_ids.ravel(), found_ids.ravel()
    starts = np.concatenate([[0], np.flatnonzero((true[1:] != true[:-1]) | (found[1:] != found[:-1])) + 1])
    (trues, true_places), (founds, found_places) = (np.unique(ids[starts], return_inverse=True) for ids in (true, found))
    pixels = np.bincount(true_places * len(founds) + found_places, np.diff(starts, append=true.size))
    pairs = np.flatnonzero(pixels)
    return {
        (int(trues[pair // len(founds)]), int(founds[pair % len(founds)])): int(count)
        for pair, count in zip(pairs, pixels[pairs], strict=True)
    }


def _segments(areas: Mapping[int, int], segments: Iterable[Segment], which: str) -> dict[int, Segment]:
    listed = {one.id: one for one in segments}
    shown = {*areas} - {VOID}
    if shown != {*listed}:
        strange = sorted(shown ^ {*listed})[0]
        raise DataError(f"the {which} map {'shows' if strange in shown else 'does not show'} segment {strange}, which is "
                        f"{'not ' if strange in shown else ''}listed; correct one of the two.")  # fmt: skip
    return listed
