"""evaluate --panoptic: panoptic maps in COCO's form by the panoptic quality of each category (see `panoptic_quality`)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets.coco import panoptic_ids
from perpixel.datasets.coco_annotations import Panoptic, read_panoptic
from perpixel.errors import DataError
from perpixel.judging.intervals import Intervals, Replicates, of_figures, print_intervals
from perpixel.judging.protocol import Failed, hash_of, left_out, noting
from perpixel.measures.panoptic import Quality, QualityCounts, mean_quality
from perpixel.terminal import percent, print_table, show
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
    results: Path,
    data: Path,
    progress: Callable[[int, int], None] | None = None,
    bootstrap: int = 0,
    seed: int = 0,
    failed: Failed = None,
) -> PanopticScores:
    """Judges `results`, a JSON of the form of the truth `data`; the PNGs lie in folders called like the files without .json.

    `bootstrap` is the number of samples of pictures that intervals are made of, none with 0; see `bootstrap`. What a picture in
    `failed` is: see `evaluate`.

    Raises DataError, with file and picture, where a picture has no result, or a map and its list do not fit."""
    truth = read_panoptic(data)
    total = np.zeros(4 * len(truth.categories))
    replicates = Replicates(len(truth.maps), len(total), bootstrap, seed, np.float64) if bootstrap else None
    digests = list[bytes]()
    for vector, digest in pictures_of(results, truth, failed):
        total += vector
        if replicates is not None:
            replicates.add(len(digests), vector)
        digests.append(digest)
        if progress is not None:
            progress(len(digests), len(truth.maps))
    more = left_out(failed, len(truth.maps), bootstrap)
    sure = of_figures([figures_of(sums, truth) for sums in replicates.sums], len(truth.maps), seed) if replicates else None
    return PanopticScores(_quality(total, truth), protocol_of(digests) | more, sure)


def pictures_of(results: Path, truth: Panoptic, failed: Failed = None) -> Iterator[tuple[NDArray[np.float64], bytes]]:
    """The vector of counts of each picture of the truth (see `QualityCounts.vector`), and the digest of its truth.

    Raises what `evaluate_panoptic` does."""
    found = read_panoptic(results, truth)
    missing = [truth.pictures[id].file_name for id in truth.maps if id not in found.maps]
    if missing:
        said = f"has no result for {len(missing)} pictures of {truth.path}, {missing[0]} first"
        raise DataError(f"{results}: {said}; predict them.")

    def one(id: int) -> tuple[NDArray[np.float64], bytes]:
        name, segments = truth.maps[id]
        true_ids, found_ids = _ids(truth, name), _ids(found, found.maps[id][0])
        listed = sorted((one.id, one.category, one.crowd) for one in segments)
        digest = hashlib.sha256(f"{name}\0{true_ids.shape}\0{listed}".encode())
        digest.update(true_ids.tobytes())
        counts = QualityCounts()
        try:
            counts.add(true_ids, segments, found_ids, found.maps[id][1])
        except DataError as error:
            raise DataError(f"{results}, picture {truth.pictures[id].file_name}: {error}") from None
        return counts.vector([*truth.categories]), digest.digest()

    for id in truth.maps:
        judged = []
        with noting(truth.pictures[id].file_name, failed):
            judged.append(one(id))
        yield from judged


def protocol_of(digests: Sequence[bytes]) -> dict[str, Any]:
    """What decides the figures, from the digests of all pictures."""
    data = hashlib.sha256(b"".join(digests)).hexdigest()
    return {"perpixel": VERSION, "data": data, "pictures": len(digests), "panoptic": RULES}


def figures_of(vector: NDArray[np.float64], truth: Panoptic) -> dict[str, float]:
    """PQ, SQ and RQ of summed vectors of pictures."""
    return _figures(_quality(vector, truth))


def _quality(vector: NDArray[np.float64], truth: Panoptic) -> dict[str, Quality]:
    return QualityCounts.of(vector, [*truth.categories]).quality(truth.categories)


def _figures(categories: Mapping[str, Quality]) -> dict[str, float]:
    pq, sq, rq = mean_quality(categories.values())
    return {"PQ": pq, "SQ": sq, "RQ": rq}


def _ids(panoptic: Panoptic, name: str) -> Any:
    return panoptic_ids(panoptic.path.with_suffix("") / name)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def print_panoptic(scores: PanopticScores) -> None:
    """A row per category, worst first, then the means and the protocol."""
    known = [(name, one) for name, one in scores.categories.items() if not math.isnan(one.pq)]
    rows: list[tuple[str, ...]] = [
        (name, percent(one.pq), percent(one.sq), percent(one.rq), str(one.matched), str(one.wrong), str(one.missed))
        for name, one in sorted(known, key=lambda item: item[1].pq)
    ]
    print_table(("category", "PQ", "SQ", "RQ", "matched", "wrong", "missed"), rows)
    named = ", ".join(f"{name} {percent(value)}" for name, value in scores.figures.items())
    show(f"{named}; {scores.protocol['pictures']} pictures, protocol {scores.protocol_hash}")
    print_intervals(scores.intervals)
