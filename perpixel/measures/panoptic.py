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

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets.coco_annotations import Segment
from perpixel.errors import DataError

VOID = 0  # the id of pixels without a segment
MATCH = 0.5


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

    def quality(self, names: Mapping[int, str] | None = None) -> dict[Any, Quality]:
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
