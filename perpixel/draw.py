"""Labels -> pictures for people: overlay, legend, error map, sheet, curves; and the same for notebooks, small and as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from perpixel.classes import ClassTable, Colour, distinct_colours
from perpixel.images import encode_image
from perpixel.instances import Instances

RgbImage = NDArray[np.uint8]
INK, PAPER, GRID = (30, 30, 30), (255, 255, 255), (225, 225, 225)
RIGHT, WRONG = (235, 235, 235), (200, 30, 30)
SIDE = 640  # the longer side of a picture in a notebook, at most


def colours(labels: NDArray[Any], classes: ClassTable) -> RgbImage:
    """Class ids (H, W) -> their colours, uint8 (H, W, 3)."""
    picture: RgbImage = classes.palette[np.minimum(labels, len(classes))]
    return picture


def overlay(
    image: RgbImage, labels: NDArray[Any], classes: ClassTable, legend: bool = True, objects: Instances | None = None
) -> RgbImage:
    """The picture, half covered with the colours of its labels, except at void; below it a legend of the classes in the picture.

    Each of the `objects` is covered with a colour of its own, and has an outline in the colour of its class. Class and score are
    written into an object's box, where they fit."""
    half = classes.palette >> 1
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=classes.void + 1))
    covered: RgbImage = (image >> 1) + half[np.minimum(labels, len(classes))]
    if classes.void in present:
        void = labels == classes.void
        covered[void] = image[void]
    if objects is not None:
        _cover_objects(covered, image, objects, classes)
    shown = tuple(int(i) for i in present if i < len(classes))
    if not legend or not shown:
        return covered
    return np.concatenate([covered, _legend(classes, shown, image.shape[1])])


def shown(
    image: RgbImage, labels: NDArray[Any], classes: ClassTable, objects: Instances | None = None, side: int = SIDE
) -> RgbImage:
    """The overlay with its legend, of a picture whose longer side is at most `side`; the letters keep their size."""
    covered = thumbnail(overlay(image, labels, classes, legend=False, objects=objects), side)
    present = tuple(int(label) for label in np.unique(labels) if label < len(classes))
    return np.concatenate([covered, _legend(classes, present, covered.shape[1])]) if present else covered


def thumbnail(picture: RgbImage, side: int = SIDE) -> RgbImage:
    """The picture, smaller if its longer side is above `side`."""
    if max(picture.shape[:2]) <= side:
        return picture
    smaller = Image.fromarray(picture)
    smaller.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(smaller)


def png(picture: RgbImage) -> bytes:
    """The bytes of a PNG."""
    return encode_image(Image.fromarray(picture), ".png")


def _cover_objects(covered: RgbImage, image: RgbImage, objects: Instances, classes: ClassTable) -> None:
    """Draws objects into the overlay of `image`; the object with the highest score is drawn last."""
    colours = np.array(distinct_colours(len(objects.class_ids)), np.uint8)
    for index in objects.by_score:
        crop = objects.crop(index)
        pixels, part = crop.pixels, covered[crop.box]
        part[pixels] = (image[crop.box][pixels] >> 1) + (colours[index] >> 1)
        around = np.pad(pixels, 1)
        inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
        part[pixels & ~inner] = classes.palette[objects.class_ids[index]]
    for index in objects.by_score:
        _name_object(covered, objects, index, classes)


def _name_object(covered: RgbImage, objects: Instances, index: int, classes: ClassTable) -> None:
    """Writes "person 87 %" into the top left corner of an object's box, if there is room."""
    crop, name = objects.crop(index), classes.names[objects.class_ids[index]]
    text = _tag(name if objects.scores is None else f"{name} {100 * objects.scores[index]:.0f} %")
    height, width = text.shape[:2]
    if crop.shape[0] >= 2 * height and crop.shape[1] >= width:
        covered[crop.top : crop.top + height, crop.left : crop.left + width] = text


def error_map(truth: NDArray[Any], predicted: NDArray[Any], void: int) -> RgbImage:
    """Light where the prediction is right, red where it is wrong, black where truth is void; uint8 (H, W, 3)."""
    picture = np.where((truth == predicted)[..., None], np.array(RIGHT, np.uint8), np.array(WRONG, np.uint8))
    picture[truth == void] = 0
    return picture


def sheet(rows: Sequence[Sequence[RgbImage]], titles: Sequence[str], gap: int = 4) -> RgbImage:
    """Pictures in a grid under column titles. A row is as high as its highest picture, a column as wide as its widest.

    A title that is wider than its column is broken into lines at its commas."""
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    widths = [max(row[column].shape[1] for row in rows) for column in range(len(titles))]
    font = _font(12)
    wrapped = [_wrapped(title, font, width) for title, width in zip(titles, widths, strict=True)]
    line = 4 + 14 * max(len(lines) for lines in wrapped)
    page = Image.new("RGB", (sum(widths) + gap * (len(widths) - 1), line + sum(heights) + gap * len(heights)), PAPER)
    pen = ImageDraw.Draw(page)
    left = 0
    for column, lines in enumerate(wrapped):
        for number, words in enumerate(lines):
            pen.text((left + widths[column] / 2, line / 2 + 14 * (number - (len(lines) - 1) / 2)), words, INK, font, anchor="mm")
        top = line
        for row, height in zip(rows, heights, strict=True):
            page.paste(Image.fromarray(row[column]), (left, top))
            top += height + gap
        left += widths[column] + gap
    return np.asarray(page)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The parts of a text between commas, in as many lines as the width needs."""
    first, *others = text.split(", ")
    lines = [first]
    for part in others:
        longer = f"{lines[-1]}, {part}"
        if font.getlength(longer) > width:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] = longer
    return lines


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], title: str, size: tuple[int, int] = (300, 460)) -> RgbImage:
    """Lines through (x, y) points, with their names on the right. Axes go from the least to the greatest values."""
    height, width = size
    top, bottom, left, right = 26, height - 24, 52, width - 96
    page = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(page), _font(11)
    pen.text((left, 12), title, INK, _font(12), anchor="lm")
    points = [point for line in lines.values() for point in line if np.isfinite(point).all()]
    if not points:
        return np.asarray(page)
    xs, ys = zip(*points, strict=True)
    (x0, x1), (y0, y1) = _spread(min(xs), max(xs)), _spread(min(ys), max(ys))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return left + (point[0] - x0) / (x1 - x0) * (right - left), bottom - (point[1] - y0) / (y1 - y0) * (bottom - top)

    for part in range(5):
        y = y0 + (y1 - y0) * part / 4
        at = place((x0, y))[1]
        pen.line((left, at, right, at), GRID)
        pen.text((left - 4, at), f"{y:.3g}", INK, font, anchor="rm")
    for part in range(3):
        x = x0 + (x1 - x0) * part / 2
        pen.text((place((x, y0))[0], bottom + 11), f"{x:.4g}", INK, font, anchor="mm")
    label_at: list[float] = []
    for (name, line), colour in zip(lines.items(), distinct_colours(len(lines)), strict=True):
        line = [point for point in line if np.isfinite(point).all()]
        if not line:
            continue
        pen.line([place(point) for point in line], colour, 2)
        at = place(line[-1])[1]
        while any(abs(at - other) < 12 for other in label_at):
            at += 12
        label_at.append(at)
        pen.text((right + 5, at), name, colour, font, anchor="lm")
    return np.asarray(page)


def _spread(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=1024)
def _tag(text: str) -> RgbImage:
    """A line of text, light on dark."""
    font = _font(11)
    page = Image.new("RGB", (int(font.getlength(text)) + 6, 14), INK)
    ImageDraw.Draw(page).text((3, 7), text, PAPER, font, anchor="lm")
    return np.asarray(page)


@lru_cache(maxsize=256)
def _legend(classes: ClassTable, shown: tuple[int, ...], width: int) -> RgbImage:
    """Swatches and names in as many lines as the width needs."""
    font, line, swatch = _font(12), 18, 12
    places, x, y = [], 4, 0
    for class_id in shown:
        needed = swatch + 4 + int(font.getlength(classes.names[class_id])) + 10
        if x > 4 and x + needed > width:
            x, y = 4, y + line
        places.append((class_id, x, y))
        x += needed
    page = Image.new("RGB", (width, y + line), PAPER)
    pen = ImageDraw.Draw(page)
    for class_id, x, y in places:
        colour: Colour = classes.colours[class_id]
        pen.rectangle((x, y + 3, x + swatch, y + 3 + swatch), colour, INK)
        pen.text((x + swatch + 4, y + line / 2), classes.names[class_id], INK, font, anchor="lm")
    return np.asarray(page)
