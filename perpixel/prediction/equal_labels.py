"""Whether an engine gives the labels that torch gives, pixel by pixel.

Engines add in other orders than torch, so a score differs in its last digits, and where two classes have nearly the same score
the label may be the other one. Such a pixel is a tie: its two scores differ by at most 1e-5 of the largest score of the picture,
or by 1e-5 where that is below 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.datasets.scenes import draw_scene
from perpixel.networks import pixel_network
from perpixel.prediction.score_maps import score_map
from perpixel.weights.model_file import Model

TIE = 1e-5
# Sizes that are compared: odd and even, small, high and wide. None is that of a graph's example.
SIZES = ((5, 7), (33, 47), (64, 64), (97, 60), (121, 163), (200, 256))
BATCHES = (1, 3)  # pictures in a batch
LISTED = 5  # differences that are told
LOOKED_AT = 1000  # pixels of a picture whose scores are compared; where there are more, the others differ anyhow

Picture = NDArray[np.uint8]
LabelsOf = Callable[[Picture], NDArray[Any]]  # of a batch, uint8 (B, H, W, 3): the labels (B, H, W)


@dataclass
class Comparison:
    """Pictures and pixels that were compared; pixels with another label: `ties`, and others, which `differ`, the first of them
    `listed` in words."""

    pictures: int = 0
    pixels: int = 0
    ties: int = 0
    differ: int = 0
    listed: list[str] = field(default_factory=list)

    def add(self, model: Model, name: str, image: Picture, theirs: NDArray[Any]) -> NDArray[Any]:
        """Compares the labels `theirs` of a picture with those of torch, which are returned."""
        size = image.shape[0], image.shape[1]
        scores = score_map(pixel_network(model.network, "export"), image, model.scale_for(size))
        ours = scores.labels(size)
        self.pictures += 1
        self.pixels += ours.size
        if theirs.shape != ours.shape:
            self._note(ours.size, f"{name}: labels of the shape {theirs.shape}")
            return ours
        places = np.argwhere(ours != theirs)
        bound = TIE * max(1.0, float(np.abs(scores.scores).max()))
        for row, column in places[:LOOKED_AT].tolist():
            values = scores.interpolated(size, (row, column, row + 1, column + 1))[0, 0]
            place = f"{name}, row {row}, column {column}"
            self._look(values, int(ours[row, column]), int(theirs[row, column]), bound, model, place)
        if len(places) > LOOKED_AT:
            self._note(len(places) - LOOKED_AT, f"{name}: {len(places)} pixels of {ours.size}")
        return ours

    def _look(self, values: NDArray[Any], ours: int, theirs: int, bound: float, model: Model, place: str) -> None:
        if theirs >= len(values):
            self._note(1, f"{place}: the engine says {theirs}, which is no class")
        elif values[ours] - values[theirs] <= bound:
            self.ties += 1
        else:
            said = [f"{model.classes.names[label]} ({values[label]:.6f})" for label in (ours, theirs)]
            self._note(1, f"{place}: torch says {said[0]}, the engine {said[1]}")

    def _note(self, count: int, text: str) -> None:
        self.differ += count
        if len(self.listed) < LISTED:
            self.listed.append(text)

    @property
    def equal(self) -> bool:
        return not self.differ

    def __str__(self) -> str:
        ties = f" but for {self.ties} ties within {TIE:g}" if self.ties else ""
        if self.equal:
            return f"{self.pictures} pictures, {self.pixels:,} pixels: equal labels{ties}"
        return f"{self.differ:,} of {self.pixels:,} pixels differ: {'; '.join(self.listed)}"


def compare_sizes(model: Model, labels_of: LabelsOf, into: Comparison | None = None) -> Comparison:
    """Compares drawn pictures at six sizes, one by one and in batches."""
    comparison = Comparison() if into is None else into
    for size in SIZES:
        pictures = drawn(max(BATCHES), size)
        for count in BATCHES:
            found = labels_of(pictures[:count])
            for number in range(count):
                name = f"drawn picture {number + 1} of {count}, {size[0]} x {size[1]}"
                labels = found[number] if len(found) == count else found  # of a wrong shape, then
                comparison.add(model, name, pictures[number], labels)
    return comparison


def drawn(count: int, size: tuple[int, int]) -> Picture:
    """Street scenes, uint8 (count, H, W, 3), the same in every call."""
    scenes = (Image.fromarray(draw_scene(seed)[0]) for seed in range(count))
    return np.stack([np.asarray(scene.resize(size[::-1], Image.Resampling.BILINEAR)) for scene in scenes])
