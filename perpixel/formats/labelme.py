"""labelme JSON, one file a picture: polygons, rectangles, circles and masks, in the order in which they are drawn.

    OUT/SPLIT/NAME.json and OUT/SPLIT/NAME.jpg side by side

AnyLabeling and X-AnyLabeling write this format too. Their rectangles have four corners, and have the type rotation where they
are turned. Shapes are drawn as labelme's own export draws them (labelme/utils/shape.py), and later shapes lie on top. Shapes of
the same label and group are one object.

Every shape is written with the type mask, which holds every pixel, holes included; labelme 5.3 and later reads it. A crowd has
the flag `crowd`. Void is the label __ignore__, as in labelme's examples, and _background_ is no object. Where no picture lies
beside a JSON file, the picture is read from imageData."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from perpixel.classes import VOID_NAME, ClassTable
from perpixel.datasets.coco_annotations import read_json
from perpixel.errors import DataError
from perpixel.files import in_either_form, is_hidden, walk, write_whole
from perpixel.formats.exchange import (
    AnnotatedSet,
    Content,
    Entry,
    Holds,
    Item,
    Notices,
    Shape,
    draw_shapes,
    failing,
    join_groups,
    label_of,
    shapes_of,
    table_of,
)
from perpixel.formats.pictures import (
    PictureFinder,
    all_or_none,
    name_and_split,
    path_parts,
    put_picture,
    require_picture_size,
    without_suffix,
)
from perpixel.images import encode_image, read_labels, read_size
from perpixel.masks.polygons import checked
from perpixel.masks.rle import MAX_SIDE, shown

HOLDS = Holds(overlap=True, crowd=True, void=True, ordered=True)
IGNORE = "__ignore__"
CORNERS: dict[str, tuple[int, ...]] = {  # the numbers of points that a shape may have; () is three or more
    "polygon": (), "oriented_rectangle": (4,), "rotation": (4,), "quadrilateral": (4,), "rectangle": (2, 4), "circle": (2,),
    "mask": (2,),
}  # fmt: skip
WITHOUT_AREA = ("line", "linestrip", "point", "points")
VERSION = "5.4.1"


def files(path: Path) -> list[Path]:
    """The JSON files in the folder `path`, or `path` itself if it is a file."""
    return [path] if path.is_file() else [file for file in walk(path) if file.suffix.lower() == ".json"]


def is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def read(path: Path, pictures: Path | None) -> AnnotatedSet:
    """Reads a file or folder of labelme. A JSON file of another program is reported in its turn, and the others are read.

    Raises DataError where there is no JSON file."""
    root = path if path.is_dir() else path.parent
    finder, notices, items, labels = PictureFinder(pictures or root), Notices(), [], []
    documents: list[tuple[str, str, Path, DataError | None]] = []
    for file in files(path):
        name, split = name_and_split(without_suffix(file.relative_to(root).parts))
        failure = None
        try:
            labels += [label for label in _labels(_document(file), file) if label]
        except DataError as error:
            failure = error
        documents.append((name, split, file, failure))
    if not documents:
        raise DataError(f"{path}: holds no JSON of labelme; name the folder that holds the files NAME.json.")
    if len(documents) == 1 and documents[0][3] is not None:
        raise documents[0][3]
    classes = table_of(sorted(set(labels)))
    for name, split, file, failure in documents:
        items.append(Item(name, split, failing(failure) if failure else partial(_content, file, finder, split, classes, notices)))
    return AnnotatedSet(classes, items, notices)


def _document(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if not is_labelme(content):
        raise DataError(f"{file}: has no shapes and imagePath; it is not of labelme, take it out.")
    document: dict[str, Any] = content
    return document


def _labels(document: Mapping[str, Any], file: Path) -> list[str]:
    return [_label(shape, f"{file}, shape {number}") for number, shape in enumerate(document["shapes"])]


def _label(shape: Any, where: str) -> str:
    if not isinstance(shape, dict):
        raise DataError(f"{where}: is {shown(shape)}, not an object with label and points.")
    return label_of(shape.get("label"), where)


def _content(file: Path, finder: PictureFinder, split: str, classes: ClassTable, notices: Notices) -> Content:
    content = _document(file)
    reference: Any = content["imagePath"] or (f"{file.stem}.png" if content.get("imageData") else None)
    name = path_parts(reference, f"{file}, imagePath")[-1]
    picture = _picture(content, reference, name, file, finder, split)
    size = read_size(picture)
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if (height, width) != (None, None):
        if not type(height) is type(width) is int:
            raise DataError(f"{file}: imageHeight and imageWidth are {shown(height)} and {shown(width)}, not whole numbers.")
        require_picture_size(picture, (height, width), str(file))
    grouped_shapes: list[tuple[Shape, int | None]] = []
    for number, (shape, label) in enumerate(zip(content["shapes"], _labels(content, file), strict=True)):
        where, kind = f"{file}, shape {number}", shape.get("shape_type") or "polygon"
        points = shape.get("points")
        flat = kind in WITHOUT_AREA or (kind == "polygon" and isinstance(points, list) and len(points) < 3)
        if flat or not label:
            notices.add("no area" if flat else "no label", name)
            continue
        try:
            pixels = Shape.of(label, _mask(shape, kind, size), bool(_flags(shape).get("crowd")))
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        group = shape.get("group_id")
        grouped_shapes.append((pixels, group if type(group) is int else None))
    return Content(picture, *draw_shapes(join_groups(grouped_shapes), classes, size, HOLDS.ordered))


def _picture(
    content: Mapping[str, Any], reference: str, name: str, file: Path, finder: PictureFinder, split: str
) -> Path | bytes:
    """The picture beside the file, else the picture inside the file, else a picture with this name below the folder."""
    beside = in_either_form(file.with_name(name))
    if beside.is_file() and beside.is_relative_to(finder.folder) and not is_hidden(name):
        return beside
    data = content.get("imageData")
    if not isinstance(data, str) or not data:
        return finder.find(reference, str(file), split)
    try:
        picture = base64.b64decode("".join(data.rpartition(",")[2].split()), validate=True)  # may begin with data:...;base64,
        read_size(picture)
    except (ValueError, DataError):
        return finder.find(reference, f"{file}, whose imageData is no picture", split)
    return picture


def _flags(shape: Mapping[str, Any]) -> Mapping[str, Any]:
    flags = shape.get("flags")
    return flags if isinstance(flags, dict) else {}


def _mask(shape: Mapping[str, Any], kind: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a shape. Raises ValueError, one sentence, for a shape that cannot be drawn."""
    if not isinstance(kind, str) or kind not in CORNERS:
        raise ValueError(f"shape_type is {shown(kind)}; known are {', '.join(CORNERS)}.")
    points = _points(shape.get("points"), kind)
    if kind == "mask":
        return _stored_mask(shape.get("mask"), points, size)
    canvas = Image.new("L", size[::-1], 0)
    drawing = ImageDraw.Draw(canvas)
    if kind == "circle":
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        drawing.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    elif kind == "rectangle" and all(len({point[axis] for point in points}) <= 2 for axis in (0, 1)):
        across, down = ([point[axis] for point in points] for axis in (0, 1))
        drawing.rectangle((min(across), min(down), max(across), max(down)), outline=1, fill=1)
    else:
        drawing.polygon(points, outline=1, fill=1)
    return np.array(canvas, np.bool_)


def _points(points: Any, kind: str) -> list[tuple[float, float]]:
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise ValueError(f"points is {shown(points)}, not a list of [x, y].")
    allowed = CORNERS[kind]
    if (not allowed and len(points) < 3) or (allowed and len(points) not in allowed):
        raise ValueError(f"a {kind} has {len(points)} points; it needs {' or '.join(map(str, allowed)) or 'three or more'}.")
    flat = [value for point in points for value in point]
    checked([flat * 3 if len(flat) < 6 else flat])  # raises unless they are finite and few enough to draw
    if max(map(abs, flat)) > 2 * MAX_SIDE:
        raise ValueError(f"a point lies at {max(flat, key=abs)}; coordinates are at most {2 * MAX_SIDE} from 0.")
    return [(float(x), float(y)) for x, y in points]


def _stored_mask(data: Any, points: list[tuple[float, float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    (left, top), (right, bottom) = ((int(x), int(y)) for x, y in points)
    if not (0 <= left <= right < size[1] and 0 <= top <= bottom < size[0]):
        raise ValueError(
            f"its mask reaches from {left}, {top} to {right}, {bottom}, outside of the picture's {size[0]}x{size[1]}."
        )
    if not isinstance(data, str):
        raise ValueError(f"its mask is {shown(data)}, not a PNG as base64.")
    try:
        stored = read_labels(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError, DataError) as error:
        raise ValueError(f"its mask is no PNG as base64 ({str(error)[:120]}).") from None
    if stored.shape != (bottom - top + 1, right - left + 1):
        raise ValueError(
            f"its mask is {stored.shape[0]}x{stored.shape[1]}, its points say {bottom - top + 1}x{right - left + 1}."
        )
    mask = np.zeros(size, np.bool_)
    mask[top : bottom + 1, left : right + 1] = stored > 0
    return mask


class Writer:
    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None:
        self.out, self.classes, self.notices = out, classes, notices

    def add(self, name: str, split: str, content: Content, number: int) -> None:
        with all_or_none() as written:
            path = put_picture(content.picture, self.out / split, name, self.notices, written)
            height, width = read_size(path)
            document: dict[str, Any] = {
                "version": VERSION, "flags": {}, "shapes": [],
                "imagePath": path.name, "imageData": None, "imageHeight": height, "imageWidth": width,
            }  # fmt: skip
            document["shapes"] = [_written(shape) for shape in shapes_of(content, self.classes, HOLDS, self.notices, name)]
            document_json = json.dumps(document, ensure_ascii=False, indent=1)
            write_whole(self.out / split, f"{name}.json", document_json.encode(), durable=False)

    def close(self, entries: Sequence[Entry]) -> None:
        """Writes no more: every file is complete."""


def _written(shape: Shape) -> dict[str, Any]:
    crop, (height, width) = shape.crop, shape.crop.shape
    corners = [[crop.left, crop.top], [crop.left + width - 1, crop.top + height - 1]]
    return {
        "label": IGNORE if shape.label == VOID_NAME else shape.label, "points": corners, "group_id": None,
        "description": "", "shape_type": "mask", "flags": {"crowd": True} if shape.crowd else {},
        "mask": base64.b64encode(encode_image(Image.fromarray(crop.pixels), ".png")).decode("ascii"),
    }  # fmt: skip
