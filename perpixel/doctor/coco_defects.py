"""Defects of annotations in COCO's form, a JSON file of images, categories and annotations, and of its pictures.

Segmentations stay text until their object is checked, so that memory holds little more than the file."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import msgspec
import numpy as np
from numpy.typing import NDArray

from perpixel.datasets.coco_json import overlong, plain, quick
from perpixel.doctor.defects import Problem, failed, problem
from perpixel.errors import DataError
from perpixel.files import in_either_form, read_bytes, require_plain
from perpixel.images import read_size
from perpixel.masks.polygons import checked
from perpixel.masks.rle import read_runs, require_size, shown

Entry = dict[str, Any]
LARGEST = 2**31  # bytes of a file
FIELDS = {"images": ("file_name", "height", "width"), "categories": ("name",), "annotations": ("image_id", "category_id")}
FAR = 1e6  # the greatest distance of a coordinate from 0, in pixels
SLACK = 2.0  # pixels by which boxes and outlines may leave the picture or each other, because of rounding
AREA = 0.25  # the part by which areas may differ, because the area of a polygon differs from the number of its pixels
SHOWN = 5  # problems of one kind that are reported; of further ones only their number


class Annotation(msgspec.Struct, gc=False):
    """The fields of an annotation that are checked. A field that is missing in the file is unset."""

    id: Any = msgspec.UNSET
    image_id: Any = msgspec.UNSET
    category_id: Any = msgspec.UNSET
    segmentation: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    bbox: Any = msgspec.UNSET
    area: Any = msgspec.UNSET
    iscrowd: Any = msgspec.UNSET

    def fields(self) -> Entry:
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not msgspec.UNSET}


class Lists(msgspec.Struct):
    images: list[Any]
    categories: list[Any]
    annotations: list[Annotation]


def of_file(path: Path, pictures: Path | None = None) -> tuple[list[Problem], int]:
    """The problems of a file of annotations, and the number of pictures that it lists.

    `pictures` is the folder of the picture files. By default it is the folder where COCO has them; without it no picture is
    checked. Raises DataError where the file does not exist."""
    lists = _load(path)
    if isinstance(lists, Problem):
        return [lists], 0
    folder = pictures or _pictures_of(path)
    problems: list[Problem] = []
    kept: dict[str, dict[int, Any]] = {}
    for part in FIELDS:
        entries, entry_problems = _by_id(path, part, lists[part])
        problems += entry_problems
        kept[part] = entries
    images = _valid_images(path, kept["images"], problems)
    if folder is not None:
        problems += _files(path, folder, images)
    for number, annotation in kept["annotations"].items():
        where, entry = f"annotation {number}", _fields(annotation)
        category, picture = entry.get("category_id"), entry.get("image_id")
        if not _whole(category) or category not in kept["categories"]:
            clause = f"{where} is of category {shown(category)}, which is not listed"
            problems.append(problem("unknown category", path, clause, value=category))
        if not _whole(picture) or picture not in kept["images"]:
            clause = f"{where} is of picture {shown(picture)}, which is not listed"
            problems.append(problem("unknown picture", path, clause, value=picture))
        elif picture in images:
            problems += _of_annotation(path, where, entry, *images[picture])
    return _first_of_each_kind(problems), len(lists["images"])


def _load(path: Path) -> dict[str, list[Any]] | Problem:
    require_plain(path)
    if path.stat().st_size > LARGEST:
        return problem("not JSON", path, f"is larger than {LARGEST} bytes", "divide it")
    data = read_bytes(path)
    try:
        lists = quick(data, Lists)
        if lists is not None and not any(isinstance(annotation.segmentation, msgspec.Raw) and overlong(annotation.segmentation)
                                         for annotation in lists.annotations):  # fmt: skip
            return {part: getattr(lists, part) for part in FIELDS}
        content = json.loads(data)
    except (ValueError, RecursionError) as error:  # RecursionError comes from deep nesting
        return problem("not JSON", path, f"cannot be read ({str(error)[:100]})")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in FIELDS):
        clause = f"is no JSON object with the lists {', '.join(FIELDS)}"
        return problem("not JSON", path, clause)
    return content


def _pictures_of(path: Path) -> Path | None:
    """The folder of the pictures: for ROOT/annotations/instances_train2017.json it is ROOT/train2017 or ROOT/images/train2017.

    Else it is a folder images/ near the file. None where no such folder exists."""
    split, above = path.stem.split("_")[-1], path.parent.parent
    places = (above / split, above / "images" / split, path.parent / split, path.parent / "images", above / "images")
    return next((place for place in places if place.is_dir()), None)


def _fields(entry: Any) -> Any:
    return entry.fields() if isinstance(entry, Annotation) else entry


def _by_id(path: Path, part: str, entries: list[Any]) -> tuple[dict[int, Any], list[Problem]]:
    """The entries by their id, and the problems of entries without a sound id. Of entries with the same id the first is kept."""
    by_id: dict[int, Any] = {}
    problems = []
    for place, raw_entry in enumerate(entries):
        where, entry = f"entry {place} of {part}", _fields(raw_entry)
        if not isinstance(entry, dict):
            problems.append(problem("missing field", path, f"{where} is {shown(entry)}, no object with fields"))
            continue
        missing = [field for field in FIELDS[part] if field not in entry]
        if missing:
            problems.append(problem("missing field", path, f"{where} has no {', '.join(missing)}"))
        number = entry.get("id")
        if not _whole(number):
            problems.append(problem("missing id", path, f"{where} has {shown(number)} for its id", value=number))
        elif number in by_id:
            problems.append(problem("doubled id", path, f"{where} has the id {number} of another one", value=number))
        elif not missing:
            by_id[int(number)] = raw_entry
    return by_id, problems


def _valid_images(path: Path, images: Mapping[int, Entry], problems: list[Problem]) -> dict[int, tuple[str, int, int]]:
    """The name, height and width of each picture with a valid size, by its id. The others are added to `problems`."""
    valid = {}
    for number, entry in images.items():
        try:
            require_size(entry["height"], entry["width"])
        except ValueError as error:
            problems.append(problem("other size", path, f"picture {number} has no size: {str(error).rstrip('.')}"))
            continue
        valid[number] = str(entry["file_name"]), int(entry["height"]), int(entry["width"])
    return valid


def _files(path: Path, folder: Path, images: Mapping[int, tuple[str, int, int]]) -> Iterator[Problem]:
    for number, (name, height, width) in images.items():
        file = in_either_form(folder / name)
        if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            clause = f"picture {number} is called {shown(name)}, which leaves {folder}"
            yield problem("missing picture", path, clause, "correct its name")
        elif not os.path.exists(file):
            yield problem("missing picture", path, f"picture {number}, {name}, is not in {folder}", value=name)
        else:
            try:
                stored_size = read_size(file, turn=False)
            except (DataError, OSError) as error:
                yield failed(file, error, "damaged")
                continue
            if stored_size != (height, width):
                clause = f"is {stored_size[0]}x{stored_size[1]}, but {path.name} lists {height}x{width} (height x width)"
                yield problem("other size", file, clause)


def _of_annotation(path: Path, where: str, entry: Entry, name: str, height: int, width: int) -> Iterator[Problem]:
    """The problems of the segmentation, box and area of an annotation, on a picture with this name and size."""
    where = f"{where} of {name}"
    box = entry.get("bbox")
    edges = None
    if box is not None:
        wrong_number = _wrong_number(box) if isinstance(box, list) and len(box) == 4 else f"{shown(box)} for four numbers"
        if wrong_number:
            yield problem("no number", path, f"{where} has the box {wrong_number}", value=shown(box))
        elif min(box[2:]) <= 0:
            yield problem("empty box", path, f"{where} has a box of {box[2]:g} x {box[3]:g} pixels", value=box)
        else:
            edges = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]], np.float64)
            if _outside(edges, height, width):
                clause = f"{where} has a box in {edges.tolist()} (left, top, right, bottom), the picture is {height}x{width}"
                yield problem("outside the picture", path, clause, pixel=(int(edges[1]), int(edges[0])), value=box)
    segmentation = _decoded(entry.get("segmentation"))
    if segmentation is None or segmentation == []:
        yield problem("no segmentation", path, f"{where} has no segmentation")
        return
    crowd = entry.get("iscrowd", 0)
    if isinstance(segmentation, dict):
        measured = yield from _of_runs(path, where, segmentation, height, width)
    else:
        if crowd == 1:
            yield problem("crowd without RLE", path, f"{where} is a crowd of polygons")
        measured = yield from _of_polygons(path, where, segmentation, height, width)
    if measured is None:
        return
    extent, area = measured
    if edges is not None and (np.abs(extent - edges) > SLACK).any():
        clause = f"{where} has the box {edges.tolist()} and a mask in {extent.tolist()} (left, top, right, bottom)"
        yield problem("box beside mask", path, clause, pixel=(int(extent[1]), int(extent[0])), value=box)
    listed = entry.get("area")
    if listed is not None and _wrong_number([listed]):
        yield problem("no number", path, f"{where} has the area {shown(listed)}", value=shown(listed))
    elif listed is not None and abs(listed - area) > AREA * max(area, listed) + 16:
        yield problem("area differs", path, f"{where} has the area {listed:g}, its mask {area:g} pixels", value=listed)


_POLYGONS = msgspec.json.Decoder(list[list[float]])


def _decoded(segmentation: Any) -> Any:
    """The polygons of a JSON text as arrays, if all are lists of numbers; else its content. Decoded content is returned
    unchanged."""
    if not isinstance(segmentation, msgspec.Raw):
        return segmentation
    try:
        return [np.array(polygon, np.float64) for polygon in _POLYGONS.decode(segmentation)]
    except (msgspec.MsgspecError, RecursionError):
        return plain(segmentation)


def _of_runs(path: Path, where: str, segmentation: Entry, height: int, width: int) -> Any:
    """Yields the problems of run lengths. Returns their extent (left, top, right, bottom) and area, or None after an error."""
    size = segmentation.get("size")
    if size != [height, width]:
        clause = f"{where} has an RLE of size {shown(size)} for a picture of {[height, width]}"
        yield problem("broken RLE", path, clause, value=shown(size))
        return None
    try:
        lengths = read_runs(segmentation.get("counts", ()), height, width)
    except ValueError as error:
        yield problem("broken RLE", path, f"{where}: {str(error).rstrip('.')}")
        return None
    from perpixel.masks import runs  # imported here, because it takes 0.4 s and files of polygons do not need it

    _, (area,), ((left, top, wide, high),) = runs.measure(runs.joined([lengths]), np.array([height], np.int64))
    if not area:
        yield problem("empty polygon", path, f"{where} has an RLE without a pixel", "take it out")
        return None
    return np.array([left, top, left + wide, top + high]), float(area)


def _of_polygons(path: Path, where: str, segmentation: Any, height: int, width: int) -> Any:
    """Yields the problems of polygons. Returns their extent (left, top, right, bottom) and area, or None after an error."""
    for number, polygon in enumerate(segmentation if isinstance(segmentation, list) else ()):
        wrong_number = _wrong_number(polygon) if isinstance(polygon, list | np.ndarray) else None
        if wrong_number:
            yield problem("no number", path, f"{where}, polygon {number}, has the coordinate {wrong_number}", value=wrong_number)
            return None
    try:
        polygons = checked(segmentation)
    except ValueError as error:
        yield problem("broken polygon", path, f"{where}: {str(error).rstrip('.')}")
        return None
    areas = [_area(polygon) for polygon in polygons]
    for number, area in enumerate(areas):
        if area < 0.5:
            x, y = polygons[number][:2]
            yield problem("empty polygon", path, f"{where}, polygon {number}, has an area of {area:g}", pixel=(int(y), int(x)))
    x, y = np.concatenate([polygon[::2] for polygon in polygons]), np.concatenate([polygon[1::2] for polygon in polygons])
    extent = np.array([x.min(), y.min(), x.max(), y.max()])
    if _outside(extent, height, width):
        clause = f"{where} has a polygon in {extent.tolist()} (left, top, right, bottom), the picture is {height}x{width}"
        yield problem("outside the picture", path, clause, pixel=(int(extent[1]), int(extent[0])))
    return extent, math.fsum(areas)


def _first_of_each_kind(problems: list[Problem]) -> list[Problem]:
    """The first problems of each kind, and one with the number of the others. A wrong export repeats its mistake in every
    entry."""
    counts = Counter(defect.kind for defect in problems)
    counted: Counter[str] = Counter()
    first_problems = []
    for defect in problems:
        counted[defect.kind] += 1
        if counted[defect.kind] <= SHOWN:
            first_problems.append(defect)
        elif counted[defect.kind] == SHOWN + 1:
            rest = counts[defect.kind] - SHOWN
            first_problems.append(
                problem(
                    defect.kind, defect.file, f"{rest} more of this kind ({defect.kind})", severity=defect.severity, count=rest
                )
            )
    return first_problems


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong_number(values: list[Any] | NDArray[np.float64]) -> str | None:
    """The text of the first value that is no finite number within `FAR`. None where all values are."""
    if isinstance(values, np.ndarray):
        if (np.abs(values) <= FAR).all():
            return None
        values = values.tolist()
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not -FAR <= value <= FAR:
            return str(shown(value))
    return None


def _outside(edges: NDArray[np.float64], height: int, width: int) -> bool:
    return bool(edges[:2].min() < -SLACK or edges[2] > width + SLACK or edges[3] > height + SLACK)


def _area(polygon: NDArray[np.float64]) -> float:
    x, y = polygon[::2], polygon[1::2]
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
