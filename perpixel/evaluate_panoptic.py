"""evaluate --panoptic: panoptic maps in COCO's form by the panoptic quality of each category (see `panoptic_quality`)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perpixel.annotations import Panoptic, read_panoptic
from perpixel.bootstrap import Intervals, Replicates, of_figures
from perpixel.datasets.coco import panoptic_ids
from perpixel.errors import DataError
from perpixel.evaluate import hash_of
from perpixel.panoptic_quality import Quality, QualityCounts, mean_quality
from perpixel.version import VERSION

RULES = {
    "PQ": "sum of IoU over matches / (TP + FP / 2 + FN / 2); a match has IoU above 0.5 in one category",
    "void": "void pixels of the truth leave the union; found segments mostly on void or crowds of their category are passed over",
    "mean": "over categories that are in truth or found",
}


@dataclass(frozen=True)
class PanopticScores:
    """The judgement of all pictures of the truth: a `Quality` for each category, nan where it is nowhere, the protocol, and if
    asked for the intervals of the figures."""

    categories: dict[str, Quality]
    protocol: dict[str, Any]
    intervals: Intervals | None = None

    @property
    def figures(self) -> dict[str, float]:
        return _figures(self.categories)

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        rows = {name: {key: _plain(value) for key, value in asdict(one).items()} for name, one in self.categories.items()}
        figures = {name: _plain(value) for name, value in self.figures.items()}
        told = {} if self.intervals is None else {"bootstrap": self.intervals.to_json()}
        return {"figures": figures, "categories": rows, "protocol": self.protocol, "protocol_hash": self.protocol_hash, **told}


def evaluate_panoptic(
    results: Path, data: Path, progress: Callable[[int, int], None] | None = None, bootstrap: int = 0, seed: int = 0
) -> PanopticScores:
    """Judges `results`, a JSON of the form of the truth `data`; the PNGs lie in folders called like the files without .json.

    `bootstrap` is the number of samples of pictures that intervals are made of, none with 0; see `bootstrap`.

    Raises DataError, with file and picture, where a picture has no result, or a map and its list do not fit."""
    truth = read_panoptic(data)
    found = read_panoptic(results, truth)
    missing = [truth.pictures[id].file_name for id in truth.maps if id not in found.maps]
    if missing:
        raise DataError(f"{results}: has no result for {len(missing)} pictures of {data}, {missing[0]} first; predict them.")
    ids, digest = [*truth.categories], hashlib.sha256()
    total = np.zeros(4 * len(ids))
    replicates = Replicates(len(truth.maps), len(total), bootstrap, seed, np.float64) if bootstrap else None
    for number, (id, (name, segments)) in enumerate(truth.maps.items(), start=1):
        true_ids, found_ids = _ids(truth, name), _ids(found, found.maps[id][0])
        digest.update(f"{name}\0{true_ids.shape}\0{sorted((one.id, one.category, one.crowd) for one in segments)}".encode())
        digest.update(true_ids.tobytes())
        counts = QualityCounts()
        try:
            counts.add(true_ids, segments, found_ids, found.maps[id][1])
        except DataError as error:
            raise DataError(f"{results}, picture {truth.pictures[id].file_name}: {error}") from None
        total += counts.vector(ids)
        if replicates is not None:
            replicates.add(number - 1, counts.vector(ids))
        if progress is not None:
            progress(number, len(truth.maps))
    protocol = {"perpixel": VERSION, "data": digest.hexdigest(), "pictures": len(truth.maps), "panoptic": RULES}
    sure = None
    if replicates is not None:
        drawn = (QualityCounts.of(sums, ids).quality(truth.categories) for sums in replicates.sums)
        sure = of_figures([_figures(one) for one in drawn], len(truth.maps), seed)
    return PanopticScores(QualityCounts.of(total, ids).quality(truth.categories), protocol, sure)


def _figures(categories: Mapping[str, Quality]) -> dict[str, float]:
    pq, sq, rq = mean_quality(categories.values())
    return {"PQ": pq, "SQ": sq, "RQ": rq}


def _ids(panoptic: Panoptic, name: str) -> Any:
    return panoptic_ids(panoptic.path.with_suffix("") / name)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
