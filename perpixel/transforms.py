"""Sample -> Sample for training: scale jitter, crop, flip and colour, each from a random generator that is handed in.

Labels after are a subset of labels before, plus void: they are moved, never mixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.sample import Sample

# Luma of ITU-R BT.601, the axis about which saturation and hue turn.
LUMA = np.array([0.299, 0.587, 0.114])
MEAN_COLOUR = (124, 116, 104)  # of ILSVRC; fills what lies outside the picture


@dataclass(frozen=True)
class Augmentation:
    """What `augment` may do; see the settings of the same names in `Recipe`."""

    scale: float = 1.0
    crop: tuple[int, int] | None = None
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    flip: bool = True
    colour: float = 0.0
    class_crops: float = 0.0


def augment(sample: Sample, how: Augmentation, void: int, random: np.random.Generator) -> Sample:
    """One training view of `sample`: a window of the picture, resized, mirrored and recoloured. Instances are left out.

    What lies outside the picture is mean colour and void. Without a crop the window has the picture's
    size, divided by the jitter."""
    assert sample.labels is not None, "training needs labels"
    height, width = sample.labels.shape
    low, high = how.scale_jitter
    jitter = float(np.exp(random.uniform(np.log(low), np.log(high))))
    if how.crop is None:
        size = max(1, round(height * how.scale)), max(1, round(width * how.scale))
        window = height / jitter, width / jitter
    else:
        size = how.crop
        window = size[0] / (how.scale * jitter), size[1] / (how.scale * jitter)
    if random.random() < how.class_crops:
        middle = _pixel_of_a_class(sample.labels, void, random)
        top, left = (at + 0.5 - side / 2 for at, side in zip(middle, window, strict=True))
    else:
        # Where the window is larger than the picture, the picture slides inside it.
        top, left = (random.uniform(min(0.0, a - b), max(0.0, a - b)) for a, b in zip((height, width), window, strict=True))
    mirrored = how.flip and random.random() < 0.5
    image = window_of(sample.image, top, left, window, size, Image.Resampling.BILINEAR, MEAN_COLOUR)
    labels = window_of(sample.labels, top, left, window, size, Image.Resampling.NEAREST, void)
    if mirrored:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if how.colour > 0:
        image = recolour(image, colour_matrix(how.colour, float(image[::8, ::8].mean()), random))
    return Sample(sample.name, np.ascontiguousarray(image), np.ascontiguousarray(labels))


def window_of(
    array: NDArray[np.uint8],
    top: float,
    left: float,
    window: tuple[float, float],
    size: tuple[int, int],
    how: Image.Resampling,
    outside: int | tuple[int, int, int],
) -> NDArray[np.uint8]:
    """The rectangle of `window` = (height, width) pixels at (top, left), resized to `size`; it may reach outside the array."""
    height, width = array.shape[:2]
    bottom, right = top + window[0], left + window[1]
    before = max(0, int(np.ceil(-top))), max(0, int(np.ceil(-left)))
    after = max(0, int(np.ceil(bottom - height))), max(0, int(np.ceil(right - width)))
    if any(before) or any(after):
        padded = np.empty((height + before[0] + after[0], width + before[1] + after[1], *array.shape[2:]), array.dtype)
        padded[...] = outside
        padded[before[0] : before[0] + height, before[1] : before[1] + width] = array
        array, top, left = padded, top + before[0], left + before[1]
    box = (left, top, min(left + window[1], array.shape[1]), min(top + window[0], array.shape[0]))
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), how, box=box))


def colour_matrix(strength: float, mean: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A random (3, 4) affine map of RGB in 0..255: brightness, saturation and contrast (about `mean`) by a factor of up to
    1 +- `strength` / 2, and the hue turned about the grey axis by up to `strength` * 30 degrees."""
    brightness, contrast, saturation = random.uniform(1 - strength / 2, 1 + strength / 2, 3)
    angle = np.deg2rad(random.uniform(-30, 30) * strength)
    grey = np.tile(LUMA, (3, 1))
    axis = np.full(3, 3**-0.5)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    matrix = brightness * contrast * (grey + saturation * (np.eye(3) - grey)) @ turn
    return np.concatenate([matrix, np.full((3, 1), brightness * mean * (1 - contrast))], axis=1)


def recolour(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) through a (3, 4) affine map, clipped to 0..255."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("RGB", tuple(matrix.ravel().tolist())))


def _pixel_of_a_class(labels: NDArray[np.uint8], void: int, random: np.random.Generator) -> tuple[int, int]:
    """A pixel of a class drawn evenly from the classes in the picture; the middle where all is void."""
    present = np.unique(labels)
    present = present[present != void]
    if not len(present):
        return labels.shape[0] // 2, labels.shape[1] // 2
    places = np.flatnonzero(labels == random.choice(present))
    row, column = divmod(int(places[random.integers(len(places))]), labels.shape[1])
    return row, column
