"""Sample -> Sample for training: scale jitter, crop, rotation, elastic deformation, flips and colour, drawn from the random
generator of the caller.

Labels are moved and never mixed: the labels of a view are labels of its picture, or void.

A picture of bands is float32 (H, W, N) in [0, 1] here (`bands`). Outside of it is 0, as where it has no data. It has no hue, so
`colour` changes brightness and contrast alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch.nn import functional as F

from perpixel.images import resampled
from perpixel.sample import Instances, Sample

# Luma of ITU-R BT.601, the axis about which saturation and hue turn.
LUMA = np.array([0.299, 0.587, 0.114])
MEAN_COLOUR = (124, 116, 104)  # of ILSVRC; fills the pixels outside the picture
HUE = 30.0  # degrees about the grey axis, at strength 1
BINOMIAL = (1, 4, 6, 4, 1)  # of 16
GRID = 3  # nodes of the elastic deformation along each side of a view


@dataclass(frozen=True)
class Augmentation:
    """The settings of `augment`; those of the same names in `Recipe` explain them.

    The picture of a crop shows `context` pixels more on each side than its labels, for a network with a border."""

    scale: float = 1.0
    crop: tuple[int, int] | None = None
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    flip: bool = True
    colour: float = 0.0
    class_crops: float = 0.0
    flip_vertical: bool = False
    rotate: float = 0.0
    elastic: float = 0.0
    context: int = 0
    scale_steps: float = 0.0
    short_sides: tuple[int, ...] = ()
    long_side: int | None = None
    blur: float = 0.0
    fill: str = "mirror"


class Window(NamedTuple):
    """The rectangle of `sides` = (height, width) pixels of the picture at (top, left) that becomes a view of `size`."""

    top: float
    left: float
    sides: tuple[float, float]
    size: tuple[int, int]


def augment(sample: Sample, how: Augmentation, void: int, random: np.random.Generator) -> Sample:
    """One training view of `sample`: a window of the picture, resized, turned, deformed, mirrored and recoloured. Labels and
    instances move with their pixels.

    What lies outside the picture is mean colour and void, and belongs to no object. In a view that is turned or deformed it is so
    with the fill "mean"; with "mirror" the picture is mirrored at its border with its labels. `context` shows the picture, and
    outside of it its mirror image, or in such a view the fill. Without a crop the window has the picture's size, divided by the
    jitter, and no context."""
    assert sample.labels is not None, "training needs labels"
    window = _choose_window(sample.labels, how, void, random)
    mirrored = how.flip and random.random() < 0.5
    upside_down = how.flip_vertical and random.random() < 0.5
    context = how.context if how.crop is not None else 0
    numbers = None if sample.instances is None else sample.instances.numbers
    if how.rotate or how.elastic:
        size = window.size[0] + 2 * context, window.size[1] + 2 * context
        places = deformed_places(size, how.rotate, how.elastic, random)
        planes = _deformed(sample, numbers, window, context, places, how.fill, void)
    else:
        planes = [_picture_of(sample.image, window, context), window_of(sample.labels, window, Image.Resampling.NEAREST, void)]
        planes += [] if numbers is None else [window_of(numbers, window, Image.Resampling.NEAREST, 0)]
    if mirrored:
        planes = [plane[:, ::-1] for plane in planes]
    if upside_down:
        planes = [plane[::-1] for plane in planes]
    image, labels, *more = (np.ascontiguousarray(plane) for plane in planes)
    if how.colour > 0 and image.dtype != np.uint8:
        image = relit(image, how.colour, random)
    elif how.colour > 0:
        image = recolour(image, colour_matrix(how.colour, float(image[::8, ::8].mean()), random))
    if how.blur and random.random() < how.blur:
        image = blurred(image)
    old = sample.instances
    instances = None if old is None else Instances.of_numbers(more[0], old.class_ids, old.crowd)
    return Sample(sample.name, image, labels, instances)


def _choose_window(labels: NDArray[Any], how: Augmentation, void: int, random: np.random.Generator) -> Window:
    height, width = labels.shape
    low, high = how.scale_jitter
    if how.scale_steps:
        jitter = float(random.choice(np.linspace(low, high, round((high - low) / how.scale_steps) + 1)))
    else:
        jitter = float(np.exp(random.uniform(np.log(low), np.log(high))))
    if how.crop is None:
        scale = _scale_of_a_side(height, width, how, random) if how.short_sides else how.scale
        size = max(1, round(height * scale)), max(1, round(width * scale))
        sides = height / jitter, width / jitter
    else:
        size = how.crop
        sides = size[0] / (how.scale * jitter), size[1] / (how.scale * jitter)
    if random.random() < how.class_crops:
        middle = _pixel_of_a_class(labels, void, random)
        top, left = (at + 0.5 - side / 2 for at, side in zip(middle, sides, strict=True))
    else:
        # Where the window is larger than the picture, the picture slides inside it.
        top, left = (random.uniform(min(0.0, a - b), max(0.0, a - b)) for a, b in zip((height, width), sides, strict=True))
    return Window(top, left, sides, size)


def _scale_of_a_side(height: int, width: int, how: Augmentation, random: np.random.Generator) -> float:
    """The scale that makes the shorter side one of `short_sides`; smaller where the longer side would exceed `long_side`."""
    scale = int(random.choice(how.short_sides)) / min(height, width)
    return scale if how.long_side is None else min(scale, how.long_side / max(height, width))


def outside_of(image: NDArray[Any]) -> int | tuple[int, int, int]:
    """What is shown outside a picture: the mean colour, and 0 outside bands."""
    return MEAN_COLOUR if image.dtype == np.uint8 else 0


def _picture_of(image: NDArray[Any], window: Window, context: int) -> NDArray[Any]:
    """The window of the picture with `context` pixels more on each side; with context the picture is mirrored at its border."""
    if context == 0:
        return window_of(image, window, Image.Resampling.BILINEAR, outside_of(image))
    (height, width), (high, wide) = window.sides, window.size
    down, right = context * height / high, context * width / wide
    sides, size = (height + 2 * down, width + 2 * right), (high + 2 * context, wide + 2 * context)
    return window_of(image, Window(window.top - down, window.left - right, sides, size), Image.Resampling.BILINEAR, None)


def _deformed(
    sample: Sample,
    numbers: NDArray[np.int32] | None,
    window: Window,
    context: int,
    places: NDArray[np.float64],
    fill: str,
    void: int,
) -> list[NDArray[Any]]:
    """The picture at `places` of the window with its context; labels and numbers at the places inside the context."""
    assert sample.labels is not None
    (height, width), (high, wide) = window.sides, window.size
    unit = height / high, width / wide
    starts = window.top, window.left
    places = np.stack([
        start + (place - context + 0.5) * step - 0.5 for start, place, step in zip(starts, places, unit, strict=True)
    ])  # fmt: skip
    inner = slice(context, context + high), slice(context, context + wide)
    values = [(sample.labels, void)] if numbers is None else [(sample.labels, void), (numbers, 0)]
    if fill == "mirror":
        places = reflected(places, sample.labels.shape)
        return [image_at(sample.image, places, unit), *(values_at(plane, places[:, *inner]) for plane, _ in values)]
    margin = math.ceil(2 * max(1.0, *unit))  # further out no pixel of the picture counts, however coarse the view is
    framed = _framed(sample.image, margin, outside_of(sample.image))
    last = np.array(framed.shape[:2])[:, None, None] - 1
    places = (places + margin).clip(0, last)
    planes = [values_at(_framed(plane, margin, outside), places[:, *inner]) for plane, outside in values]
    return [image_at(framed, places, unit), *planes]


def _framed(array: NDArray[Any], margin: int, outside: int | tuple[int, int, int]) -> NDArray[Any]:
    """`array` with `margin` pixels of the value `outside` on each side."""
    height, width = array.shape[:2]
    framed = np.empty((height + 2 * margin, width + 2 * margin, *array.shape[2:]), array.dtype)
    framed[...] = outside
    framed[margin : margin + height, margin : margin + width] = array
    return framed


def deformed_places(size: tuple[int, int], rotate: float, elastic: float, random: np.random.Generator) -> NDArray[np.float64]:
    """(2, H, W): row and column in the undeformed view from which each pixel of a view of `size` comes.

    Turned about the middle by up to +- `rotate` degrees, then moved: displacement vectors with a standard deviation of `elastic`
    pixels on a coarse 3 x 3 grid, interpolated bicubically to every pixel (U-Net, section 3.1). The paper does not say what the
    grid spans; here it spans the view, with nodes at its corners, the middles of its sides and its centre."""
    rows, columns = (np.arange(side, dtype=np.float64) for side in size)
    angle = float(np.deg2rad(random.uniform(-rotate, rotate)))
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    down, right = (rows - middle[0])[:, None], (columns - middle[1])[None]
    turned = middle[0] + np.cos(angle) * down - np.sin(angle) * right, middle[1] + np.sin(angle) * down + np.cos(angle) * right
    displacements = random.normal(0, elastic, (2, GRID, GRID))
    places: NDArray[np.float64] = np.stack(turned) + _bicubic(size[0]) @ displacements @ _bicubic(size[1]).T
    return places


def _bicubic(side: int) -> NDArray[np.float64]:
    """(side, GRID): the weights by which bicubic interpolation makes `side` values of one value at each node."""
    nodes = torch.eye(GRID, dtype=torch.float64)[None, None]
    weights: NDArray[np.float64] = F.interpolate(nodes, (side, GRID), mode="bicubic", align_corners=True)[0, 0].numpy()
    return weights


def image_at(image: NDArray[Any], places: NDArray[np.float64], unit: tuple[float, float]) -> NDArray[Any]:
    """The picture at `places` (2, H, W) inside it, interpolated bilinearly.

    A pixel of the view is as large as `unit` pixels of the picture, (down, right). Where this is more than 1, the picture is made
    smaller first, as `window_of` does, so that no pixel is skipped."""
    starts, stops = np.floor(places.min((1, 2))).astype(int), np.floor(places.max((1, 2))).astype(int) + 2
    part = image[starts[0] : stops[0], starts[1] : stops[1]]
    high, wide = part.shape[:2]
    size = max(1, round(high / max(1.0, unit[0]))), max(1, round(wide / max(1.0, unit[1])))
    small = resampled(np.ascontiguousarray(part), size, Image.Resampling.BILINEAR)
    rows, columns = (
        ((place - start + 0.5) * (after / before) - 0.5) * (2 / max(1, after - 1)) - 1  # -1 at the first pixel, 1 at the last
        for place, start, after, before in zip(places, starts, size, (high, wide), strict=True)
    )
    grid = torch.from_numpy(np.stack([columns, rows], axis=-1, dtype=np.float32))
    pixels = torch.from_numpy(small.astype(np.float32)).permute(2, 0, 1)
    sampled = F.grid_sample(pixels[None], grid[None], "bilinear", "border", align_corners=True)
    colours = sampled[0].permute(1, 2, 0)
    return (colours.round_().to(torch.uint8) if image.dtype == np.uint8 else colours.contiguous()).numpy()


def values_at(values: NDArray[Any], places: NDArray[np.float64]) -> NDArray[Any]:
    """The values (H, W) at the pixels nearest to `places` (2, H, W) inside the picture."""
    rows, columns = np.rint(places).astype(np.int32)
    nearest: NDArray[Any] = values.ravel().take(rows * values.shape[1] + columns)
    return nearest


def reflected(places: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.float64]:
    """`places` (2, H, W) inside a picture of `size`, mirrored at its border pixels again and again."""
    last = np.array(size, np.float64)[:, None, None] - 1
    folded = np.abs(places)
    if (folded > 2 * last).any():
        folded %= np.maximum(2 * last, 1)
    inside: NDArray[np.float64] = (last - np.abs(last - folded)).clip(0)
    return inside


def window_of(
    array: NDArray[Any], window: Window, how: Image.Resampling, outside: int | tuple[int, int, int] | None
) -> NDArray[Any]:
    """The window, resized. Outside the array it has the value `outside`; where `outside` is None, the array is mirrored at its
    border pixels."""
    height, width = array.shape[:2]
    top, left, sides, size = window
    bottom, right = top + sides[0], left + sides[1]
    before = max(0, int(np.ceil(-top))), max(0, int(np.ceil(-left)))
    after = max(0, int(np.ceil(bottom - height))), max(0, int(np.ceil(right - width)))
    if outside is None:
        array = np.pad(array, ((before[0], after[0]), (before[1], after[1]), *[(0, 0)] * (array.ndim - 2)), mode="reflect")
        top, left = top + before[0], left + before[1]
    elif any(before) or any(after):
        padded = np.empty((height + before[0] + after[0], width + before[1] + after[1], *array.shape[2:]), array.dtype)
        padded[...] = outside
        padded[before[0] : before[0] + height, before[1] : before[1] + width] = array
        array, top, left = padded, top + before[0], left + before[1]
    box = (left, top, min(left + sides[1], array.shape[1]), min(top + sides[0], array.shape[0]))
    return resampled(array, size, how, box)


def colour_matrix(strength: float, mean: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A random (3, 4) affine map of RGB in 0..255: brightness, saturation and contrast (about `mean`) by a factor of up to
    1 +- `strength` / 2, and the hue turned about the grey axis by up to `strength` * 30 degrees."""
    brightness, contrast, saturation = random.uniform(1 - strength / 2, 1 + strength / 2, 3)
    angle = np.deg2rad(random.uniform(-HUE, HUE) * strength)
    grey = np.tile(LUMA, (3, 1))
    axis = np.full(3, 3**-0.5)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    matrix = brightness * contrast * (grey + saturation * (np.eye(3) - grey)) @ turn
    return np.concatenate([matrix, np.full((3, 1), brightness * mean * (1 - contrast))], axis=1)


def recolour(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) through a (3, 4) affine map, clipped to 0..255."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("RGB", tuple(matrix.ravel().tolist())))


def relit(image: NDArray[Any], strength: float, random: np.random.Generator) -> NDArray[Any]:
    """Bands in [0, 1] with brightness and contrast, about the mean of each band, changed by a factor of up to 1 +- `strength` / 2
    that all bands share."""
    brightness, contrast = random.uniform(1 - strength / 2, 1 + strength / 2, 2).astype(np.float32)
    mean = image[::8, ::8].mean((0, 1))
    lit: NDArray[Any] = np.clip(image * (brightness * contrast) + brightness * (1 - contrast) * mean, 0, 1)
    return lit


def blurred(image: NDArray[Any]) -> NDArray[Any]:
    """The picture blurred by OpenCV's Gaussian of 5 x 5 pixels, a binomial kernel; the picture is mirrored at its border."""
    if image.dtype != np.uint8:
        for axis in (0, 1):
            image = ndimage.correlate1d(image, np.array(BINOMIAL) / 16, axis, mode="mirror")
        return image
    sums: NDArray[np.uint16] = image.astype(np.uint16)
    for axis in (0, 1):
        sums = ndimage.correlate1d(sums, BINOMIAL, axis, mode="mirror")
    return ((sums + 128) >> 8).astype(np.uint8)


def _pixel_of_a_class(labels: NDArray[np.uint8], void: int, random: np.random.Generator) -> tuple[int, int]:
    """A pixel of a class drawn evenly from the classes in the picture; the middle where all is void."""
    present = np.unique(labels)
    present = present[present != void]
    if not len(present):
        return labels.shape[0] // 2, labels.shape[1] // 2
    places = np.flatnonzero(labels == random.choice(present))
    row, column = divmod(int(places[random.integers(len(places))]), labels.shape[1])
    return row, column
