"""Draws the polygons of Cityscapes as label ids and instance ids, pixel for pixel as its json2labelImg and json2instanceImg do.

    {"imgHeight": 1024, "imgWidth": 2048, "objects": [{"label": "road", "polygon": [[0, 769], [290, 574], ...]}, ...]}

Objects are drawn in their order, so later objects cover earlier ones. Objects with a true `deleted` are left out. A label may
end in `group`: if only the part before is in the table, it is drawn as that label and is no object. Objects of one label are
numbered from 0. The licence plate, id -1, is not drawn. Pixels without an object are unlabeled, 0.

Pillow draws the polygons, with corners cut to whole pixels. Versions of Pillow may differ by some pixels where the sides of a
polygon cross: of 200 random drawings, 40 differ between 8.4 and 13.0. Pillow is native code, so the content of a file is checked
first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from perpixel.datasets.cityscapes_labels import LABELS, PER_LABEL, Label
from perpixel.errors import DataError, did_you_mean
from perpixel.files import read_text
from perpixel.limits import MAX_PIXELS

BY_NAME = {label.name: label for label in LABELS}
GROUP = "group"
MAX_COORDINATE = 1e6
MAX_WORK = 2**32  # steps of drawing: about a thousand times as many as the fullest street needs
Polygon = list[tuple[float, float]]


def draw_label_ids(path: Path) -> NDArray[np.uint8]:
    """The label ids (H, W), drawn from the polygons of the file.

    Raises DataError, which names the file and the object, for a file of another form, for unknown labels, and for corners that
    are not finite or lie more than a million pixels away."""
    width, height, objects = _read(path)
    canvas = Image.new("L", (width, height), 0)
    drawing = ImageDraw.Draw(canvas)
    for label, _, polygon in objects:
        drawing.polygon(polygon, fill=label.id)
    return np.array(canvas)


def draw_instance_ids(path: Path) -> NDArray[np.uint16]:
    """The instance ids (H, W), drawn from the polygons of the file. Raises the errors of `draw_label_ids`."""
    width, height, objects = _read(path)
    canvas = Image.new("I", (width, height), 0)
    drawing = ImageDraw.Draw(canvas)
    counts = Counter[str]()
    for label, is_group, polygon in objects:
        value = label.id
        if label.has_instances and not is_group:
            value = PER_LABEL * label.id + counts[label.name]
            counts[label.name] += 1
            if counts[label.name] > PER_LABEL:
                raise DataError(f"{path}: has more than {PER_LABEL} objects {label.name}, which instance ids cannot number.")
        drawing.polygon(polygon, fill=value)
    return np.array(canvas).astype(np.uint16)


def _read(path: Path) -> tuple[int, int, list[tuple[Label, bool, Polygon]]]:
    """The width, the height, and the objects to draw, in their order: label, whether it is a group, corners."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({error}); take the file from Cityscapes' archive again.") from error
    try:
        return _checked(content)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _checked(content: Any) -> tuple[int, int, list[tuple[Label, bool, Polygon]]]:
    """The width, the height, and the objects to draw. Raises ValueError, one sentence, for content of another form."""
    if not isinstance(content, dict):
        raise ValueError("is no object with imgHeight, imgWidth and objects; give a *_polygons.json of Cityscapes.")
    width, height = (_side(content, name) for name in ("imgWidth", "imgHeight"))
    if width * height > MAX_PIXELS:
        raise ValueError(f"{height}x{width} pixels are more than {MAX_PIXELS}; correct imgHeight and imgWidth.")
    entries = content.get("objects")
    if not isinstance(entries, list):
        raise ValueError(f"objects is {_shown(entries)}; it must be a list.")
    work, objects = 0, []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
            raise ValueError(f"object {number} has no label; give it one of the table.")
        if entry.get("deleted", 0):
            continue
        name, is_group = entry["label"], False
        if name not in BY_NAME and name.endswith(GROUP):
            name, is_group = name.removesuffix(GROUP), True
        if name not in BY_NAME:
            raise ValueError(f"object {number}: {did_you_mean('label', entry['label'], BY_NAME)}")
        if BY_NAME[name].id < 0:
            continue
        polygon = list(_corners(entry.get("polygon"), number))
        columns, rows = zip(*polygon, strict=True)
        wide, high = _covered(columns, width), _covered(rows, height)
        work += high * (len(polygon) + wide)
        if work > MAX_WORK:
            raise ValueError(f"objects up to {number} are too many or too large to draw; correct the polygons.")
        objects.append((BY_NAME[name], is_group, polygon))
    return width, height, objects


def _side(content: dict[str, Any], name: str) -> int:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PIXELS:
        raise ValueError(f"{name} is {_shown(value)}; it must be a whole number of pixels.")
    return value


def _corners(polygon: Any, number: int) -> Iterator[tuple[float, float]]:
    if not isinstance(polygon, list) or len(polygon) < 2:
        raise ValueError(f"object {number}: its polygon is {_shown(polygon)}; it must be a list of two corners [x, y] or more.")
    for corner in polygon:
        if not isinstance(corner, list) or len(corner) < 2 or not all(map(_is_near, corner[:2])):
            raise ValueError(
                f"object {number}: the corner {_shown(corner)} is no [x, y] of finite numbers within "
                f"{MAX_COORDINATE:.0f} pixels; correct the polygon."
            )
        yield corner[0], corner[1]


def _is_near(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -MAX_COORDINATE <= value <= MAX_COORDINATE  # false for nan


def _covered(values: tuple[float, ...], side: int) -> int:
    """The number of pixels in 0..side - 1 between the least and the greatest value; at least 1."""
    return max(1, int(min(max(values) + 1, side)) - int(max(min(values), 0)))


def _shown(value: Any) -> str:
    if isinstance(value, dict) or (isinstance(value, list) and not all(isinstance(entry, int | float | str) for entry in value)):
        return f"a {type(value).__name__} of {len(value)}"  # repr would fail for deep nesting
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
