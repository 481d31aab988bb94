"""Distances between the surfaces of classes, as medical pictures are judged: 95 % Hausdorff distance, average symmetric surface
distance, and surface Dice at a tolerance (definitions of Metrics Reloaded: Maier-Hein et al., Nature Methods 21, 2024).

    hausdorff95, average, dice = surface_distances(truth, predicted, tolerance=2)      # of two masks, bool (H, W)

The surface S of a mask are its pixels with an edge-neighbour outside of it; outside of the picture is outside. With d(a, S) the
distance of a pixel to the nearest pixel of S:

    hausdorff95   = max(P95 of d(a, S_predicted) over S_truth, P95 of d(b, S_truth) over S_predicted)
    average       = (sum of d(a, S_predicted) + sum of d(b, S_truth)) / (|S_truth| + |S_predicted|)
    surface Dice  = (|a: d(a, S_predicted) <= tolerance| + |b: d(b, S_truth) <= tolerance|) / (|S_truth| + |S_predicted|)"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.datasets import label_digest
from perpixel.errors import DataError, UsageError
from perpixel.masks.components import NEIGHBOURS
from perpixel.measures.measure import (
    Better,
    Figures,
    FiguresOf,
    Measure,
    Summary,
    Table,
    mean_of_known,
    percent,
    ratio,
    weighted_sums,
)
from perpixel.sample import Prediction, Sample

FIGURES = ("hausdorff95", "surface_distance", "surface_dice")
TOLERANCE = 2.0
PERCENTILE = 95


@dataclass(frozen=True)
class Surfaces(Measure[NDArray[np.float64]]):
    """Surface distances of every class, in pixels, or in the unit of `spacing`: height and width of a pixel.

    A row is (3, C), nan for a class in neither truth nor prediction. Raises UsageError for a tolerance below 0 and a spacing that
    is no two lengths."""

    tolerance: float = TOLERANCE
    spacing: Sequence[float] = (1.0, 1.0)

    name: ClassVar[str] = "surfaces"
    entry: ClassVar[str] = "surfaces"
    rules: ClassVar[Mapping[str, str]] = {
        "hausdorff95": "larger of the two directed 95th percentiles of the distances between surface pixels",
        "surface_distance": "mean of the distances of all surface pixels of both to the surface of the other",
        "surface_dice": "share of the surface pixels of both that are within the tolerance of the surface of the other",
        "surface": "pixels of a class with an edge-neighbour of no class or another; the picture's border is surface",
        "one_empty": "a class in truth or prediction alone: the picture's diagonal as distance, 0 as surface Dice",
        "means": "over the pictures that have the class in truth or prediction, then over classes",
        "surface_void": "void pixels of the truth are of no class in either map",
    }
    decimals: ClassVar[Mapping[str, int]] = {"hausdorff95": 2, "surface_distance": 2}
    amounts: ClassVar[frozenset[str]] = frozenset(decimals)
    better: ClassVar[Mapping[str, Better]] = {
        "surface_dice": "larger", "surface_distance": "smaller", "hausdorff95": "smaller",
    }  # fmt: skip

    def __post_init__(self) -> None:
        if not self.tolerance >= 0 or not math.isfinite(self.tolerance):
            raise UsageError(f"tolerance = {self.tolerance}: is a distance; give 0 or more, as {TOLERANCE}.")
        if len(self.spacing) != 2 or not all(0 < length < math.inf for length in self.spacing):
            raise UsageError(f"spacing = {list(self.spacing)}: give the height and the width of a pixel, as 0.5 0.5.")

    def settings(self) -> dict[str, object]:
        return {"tolerance": self.tolerance, "spacing": list(self.spacing)}

    def count(self, truth: Sample, predicted: Prediction) -> tuple[NDArray[np.float64], bytes]:
        digest, classes = label_digest(truth), predicted.classes
        assert truth.labels is not None
        if predicted.labels.shape != truth.labels.shape:
            raise DataError(
                f"{truth.name}: the truth has the shape {truth.labels.shape}, the prediction {predicted.labels.shape}; "
                "judge at the truth's size."
            )
        judged = truth.labels != classes.void
        row = np.full((len(FIGURES), len(classes)), math.nan)
        for class_id in range(len(classes)):
            masks = (truth.labels == class_id) & judged, (predicted.labels == class_id) & judged
            if masks[0].any() or masks[1].any():
                row[:, class_id] = surface_distances(*masks, self.tolerance, self.spacing)
        return row, digest

    def figures(self, *sides: Sequence[NDArray[np.float64]]) -> FiguresOf:
        """The three means over classes; nan where no picture has a class."""
        rows = [row for side in sides for row in side]
        counts = [np.concatenate([np.nan_to_num(row), ~np.isnan(row[:1])]).ravel() for row in rows]

        def figures_of(weights: NDArray[np.int64]) -> Figures:
            sums = weighted_sums(weights, counts, np.float64).reshape(len(weights), len(FIGURES) + 1, -1)
            by_class = ratio(sums[:, :-1], sums[:, -1:])
            return Figures({name: mean_of_known(by_class[:, place]) for place, name in enumerate(FIGURES)})

        return figures_of

    def summary(self, rows: Sequence[NDArray[np.float64]], classes: Sequence[str], names: Sequence[str]) -> Summary:
        drawn = self.figures(rows)(np.ones((1, len(rows)), np.int64)).overall
        figures = {name: float(values[0]) for name, values in drawn.items()}
        stack = np.stack(rows)
        pictures = (~np.isnan(stack[:, 0])).sum(0)
        by_class = ratio(np.nan_to_num(stack).sum(0), pictures)  # (3, C)
        ranked = sorted(range(len(classes)), key=lambda place: (math.isnan(by_class[2, place]), by_class[2, place]))
        lines = [
            (classes[place], f"{by_class[0, place]:.2f}", f"{by_class[1, place]:.2f}", percent(by_class[2, place]),
             str(pictures[place]))
            for place in ranked
        ]  # fmt: skip
        details = [
            {"name": name, **dict(zip(FIGURES, by_class[:, place].tolist(), strict=True)), "pictures": int(pictures[place])}
            for place, name in enumerate(classes)
        ]
        unit = "pixels" if tuple(self.spacing) == (1, 1) else f"the unit of pixels of {self.spacing[0]:g} x {self.spacing[1]:g}"
        note = (
            f"hausdorff95 {figures['hausdorff95']:.2f}, surface_distance {figures['surface_distance']:.2f}, surface_dice "
            f"{percent(figures['surface_dice'])}; tolerance {self.tolerance:g}, in {unit}"
        )
        header = ("class", "Hausdorff 95 %", "surface distance", "surface Dice", "pictures")
        return Summary(figures, {"classes": details}, [Table(header, lines)], note, by_class)


def surface_distances(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], tolerance: float = TOLERANCE, spacing: Sequence[float] = (1.0, 1.0)
) -> tuple[float, float, float]:
    """95 % Hausdorff distance, average symmetric surface distance and surface Dice of two masks (H, W); nan where both are empty,
    the picture's diagonal, twice, and 0 where one is."""
    if not truth.any() and not predicted.any():
        return math.nan, math.nan, math.nan
    if not truth.any() or not predicted.any():
        diagonal = math.hypot(truth.shape[0] * spacing[0], truth.shape[1] * spacing[1])
        return diagonal, diagonal, 0.0
    rows, columns = np.flatnonzero((truth | predicted).any(1)), np.flatnonzero((truth | predicted).any(0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)  # no surface lies outside of it
    surfaces = [surface(mask[part]) for mask in (truth, predicted)]
    distances = [
        ndimage.distance_transform_edt(~other, sampling=spacing)[own] for own, other in (surfaces, surfaces[::-1])
    ]  # fmt: skip
    both = np.concatenate(distances)
    hausdorff = max(float(np.percentile(each, PERCENTILE)) for each in distances)
    return hausdorff, float(both.mean()), float((both <= tolerance).mean())


def surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask (H, W) with an edge-neighbour outside of it."""
    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask, NEIGHBOURS[4])
    return mask & ~inner
