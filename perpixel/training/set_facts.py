"""What a training is planned by: sizes, classes, fineness, objects, grey or colour, up and down, of a sample of the pictures of
a split.

    facts = set_facts(open_dataset("street", split="train"))
    facts.widths[3]                 # 2.6: the class is 2.6 pixels wide on average

The sample is spread evenly over the split. It is bounded in pictures and in pixels, so that it takes seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.datasets import Dataset, HasPictures, picture_size
from perpixel.errors import DataError
from perpixel.masks.touching import touching
from perpixel.sample import Sample

SIZES = 1000  # pictures whose headers are read, at most
LOOKED_AT, FEWEST = 32, 6  # pictures that are read, at most and at least
PIXELS = 24e6  # of all pictures that are read, about
COARSE = 256  # pixels of a side in which connected regions are sought
LEAST_REGION = 4  # cells of such a region; smaller ones are specks
SIDED = {"left", "right"}  # words of classes that a mirror would make wrong
UP_AND_DOWN = 2.0  # how much more top and bottom differ than left and right where pictures have an upper side
NOISE = 0.01  # such a difference that is none


@dataclass(frozen=True)
class SetFacts:
    """Facts of a split. Sizes are (height, width) in pixels: those that nine in ten pictures have, and the median.

    `shares` (C,) of the judged pixels by class; `widths` (C,): twice a class's pixels per pixel of its border, which for a line
    is its width, and nan for a class without a border. `region` is the side of a square as large as the median connected region
    or object, nan without any. `touching` is the share of numbered objects that touch another; nan where none is numbered."""

    pictures: int
    looked_at: int
    size: tuple[int, int]
    median: tuple[int, int]
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    widths: tuple[float, ...]
    region: float
    touching: float
    grey: bool
    upright: bool
    seconds: float  # to read a picture

    @property
    def sided(self) -> bool:
        """Whether the name of a class says left or right."""
        words = (re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name) for name in self.classes)
        return any(word.lower() in SIDED for of_name in words for word in of_name)

    @property
    def things(self) -> tuple[int, ...]:
        """The classes that show, but for the most common one."""
        most = int(np.argmax(self.shares))
        return tuple(i for i, share in enumerate(self.shares) if share > 0 and i != most)

    @property
    def finest(self) -> float:
        """The median width of `things`; nan where there are none."""
        widths = [self.widths[i] for i in self.things if not np.isnan(self.widths[i])]
        return float(np.median(widths)) if widths else float("nan")

    @property
    def smallest(self) -> float:
        """The share of the rarest class that shows."""
        return min((share for share in self.shares if share > 0), default=0.0)


def set_facts(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> SetFacts:
    """The facts of a split. Pictures that cannot be read are left out. Raises DataError where none can be read."""
    number = len(dataset)
    sizes = _sizes(dataset)
    median = _median(sizes)
    count = int(np.clip(PIXELS / (median[0] * median[1]), FEWEST, LOOKED_AT))
    chosen = np.unique(np.linspace(0, number - 1, min(count, number)).astype(int))
    looks, failure = [], None
    began = time.monotonic()
    for done, index in enumerate(chosen, start=1):
        try:
            looks.append(_look(dataset.sample(int(index)), len(dataset.classes), dataset.classes.void))
        except DataError as error:
            failure = failure or error
        if progress is not None:
            progress(done, len(chosen))
    if not looks and failure is not None:
        raise failure
    seconds = (time.monotonic() - began) / len(chosen)
    pixels = np.sum([look.pixels for look in looks], axis=0)
    edges = np.sum([look.edges for look in looks], axis=0)
    widths = np.where(edges > 0, 2 * pixels / np.maximum(edges, 1), np.nan)
    regions = [side for look in looks for side in look.regions]
    objects = sum(look.objects or 0 for look in looks)
    numbered = any(look.objects is not None for look in looks)
    tilt = np.abs(np.mean([look.tilt for look in looks], axis=0)).max(1)
    return SetFacts(
        number, len(looks), _tenth(sizes), median, dataset.classes.names, tuple((pixels / max(1, pixels.sum())).tolist()),
        tuple(widths.tolist()),
        float(np.median(regions)) if regions else float("nan"),
        sum(look.touching for look in looks) / max(1, objects) if numbered else float("nan"),
        all(look.grey for look in looks), bool(tilt[0] > UP_AND_DOWN * tilt[1] + NOISE), seconds,
    )  # fmt: skip


@dataclass(frozen=True)
class _Look:
    """The facts of a picture: `pixels` and `edges` (C,) by class, `tilt` (2, C + 1): by how much classes and light lie higher
    than lower, and more to the left than to the right."""

    pixels: NDArray[np.int64]
    edges: NDArray[np.int64]
    regions: list[float]
    objects: int | None
    touching: int
    grey: bool
    tilt: NDArray[np.float64]


def _look(sample: Sample, num_classes: int, void: int) -> _Look:
    labels, image = sample.labels, sample.shown
    if labels is None:
        raise DataError(f"{sample.name}: has no labels to learn from; add its mask.")
    pixels = np.bincount(labels.ravel(), minlength=void + 1)[:num_classes]
    edges = np.zeros(void + 1, np.int64)
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        differ = (a != b) & (a != void) & (b != void)
        edges += np.bincount(a[differ], minlength=void + 1) + np.bincount(b[differ], minlength=void + 1)
    numbers = None if sample.instances is None else sample.instances.numbers
    if numbers is not None:
        areas = np.bincount(numbers.ravel())[1:]
        areas = areas[areas > 0]
        regions, objects = np.sqrt(areas).tolist(), len(areas)
        borders = numbers[touching(numbers)]
    else:
        regions, objects, borders = _regions(labels, num_classes), None, np.zeros(0, np.int32)
    light = image[::4, ::4].mean(2) / 255
    return _Look(
        pixels, edges[:num_classes], regions, objects, len(np.unique(borders)), bool(np.ptp(image[::4, ::4], axis=2).max() == 0),
        np.stack([_tilt(labels, light, num_classes), _tilt(labels.T, light.T, num_classes)]),
    )  # fmt: skip


def _tilt(labels: NDArray[np.integer], light: NDArray[np.float64], num_classes: int) -> NDArray[np.float64]:
    """The share of each class in the upper half minus that in the lower half, and the same of light."""
    half, middle = labels.shape[0] // 2, light.shape[0] // 2
    if not half or not middle:
        return np.zeros(num_classes + 1)
    halves = labels[:half], labels[-half:]
    upper, lower = (np.bincount(part.ravel(), minlength=num_classes)[:num_classes] / part.size for part in halves)
    return np.append(upper - lower, light[:middle].mean() - light[-middle:].mean())


def _regions(labels: NDArray[np.integer], num_classes: int) -> list[float]:
    """The sides of squares as large as the connected regions of each class but the most common one."""
    step = max(1, max(labels.shape) // COARSE)
    coarse = labels[::step, ::step]
    counts = np.bincount(coarse.ravel(), minlength=num_classes)[:num_classes]
    sides: list[float] = []
    for class_id in np.flatnonzero(counts):
        if class_id == counts.argmax():
            continue
        numbers, _ = ndimage.label(coarse == class_id)
        areas = np.bincount(numbers.ravel())[1:]
        sides += (step * np.sqrt(areas[areas >= LEAST_REGION])).tolist()
    return sides


def _sizes(dataset: Dataset) -> list[tuple[int, int]]:
    """Heights and widths of pictures, spread evenly over the split. Raises DataError where no header can be read."""
    count = len(dataset)
    sizes, failure = [], None
    for index in range(0, count, -(-count // SIZES)):
        try:
            sizes.append(picture_size(dataset, index))
        except DataError as error:
            failure = failure or error
        if not isinstance(dataset, HasPictures) and len(sizes) == FEWEST:
            break
    if not sizes and failure is not None:
        raise failure
    return sizes


def _tenth(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The height and the width that nine in ten pictures have at least."""
    heights, widths = (sorted(sides) for sides in zip(*sizes, strict=True))
    return heights[len(sizes) // 10], widths[len(sizes) // 10]


def _median(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    heights, widths = (sorted(sides) for sides in zip(*sizes, strict=True))
    return heights[len(sizes) // 2], widths[len(sizes) // 2]
