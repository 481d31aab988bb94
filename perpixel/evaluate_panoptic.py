"""evaluate --panoptic: panoptic maps in COCO's form by the panoptic quality of each category (see `panoptic_quality`)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perpixel.annotations import Panoptic, read_panoptic
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
    """The judgement of all pictures of the truth: a `Quality` for each category, nan where it is nowhere."""

    categories: dict[str, Quality]
    protocol: dict[str, Any]

    @property
    def figures(self) -> dict[str, float]:
        pq, sq, rq = mean_quality(self.categories.values())
        return {"PQ": pq, "SQ": sq, "RQ": rq}

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        rows = {name: {key: _plain(value) for key, value in asdict(one).items()} for name, one in self.categories.items()}
        figures = {name: _plain(value) for name, value in self.figures.items()}
        return {"figures": figures, "categories": rows, "protocol": self.protocol, "protocol_hash": self.protocol_hash}


def evaluate_panoptic(results: Path, data: Path, progress: Callable[[int, int], None] | None = None) -> PanopticScores:
    """Judges `results`, a JSON of the form of the truth `data`; the PNGs lie in folders called like the files without .json.

    Raises DataError, with file and picture, where a picture has no result, or a map and its list do not fit."""
    truth = read_panoptic(data)
    found = read_panoptic(results, truth)
    missing = [truth.pictures[id].file_name for id in truth.maps if id not in found.maps]
    if missing:
        raise DataError(f"{results}: has no result for {len(missing)} pictures of {data}, {missing[0]} first; predict them.")
    counts, digest = QualityCounts(), hashlib.sha256()
    for number, (id, (name, segments)) in enumerate(truth.maps.items(), start=1):
        true_ids, found_ids = _ids(truth, name), _ids(found, found.maps[id][0])
        digest.update(f"{name}\0{true_ids.shape}\0{sorted((one.id, one.category, one.crowd) for one in segments)}".encode())
        digest.update(true_ids.tobytes())
        try:
            counts.add(true_ids, segments, found_ids, found.maps[id][1])
        except DataError as error:
            raise DataError(f"{results}, picture {truth.pictures[id].file_name}: {error}") from None
        if progress is not None:
            progress(number, len(truth.maps))
    protocol = {"perpixel": VERSION, "data": digest.hexdigest(), "pictures": len(truth.maps), "panoptic": RULES}
    return PanopticScores(counts.quality(truth.categories), protocol)


def _ids(panoptic: Panoptic, name: str) -> Any:
    return panoptic_ids(panoptic.path.with_suffix("") / name)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
