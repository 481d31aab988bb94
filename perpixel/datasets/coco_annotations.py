"""Annotation files in COCO's JSON: pictures, categories and objects, or panoptic segments. They are checked when they are read.

    truth = read_annotations(Path("annotations/instances_val2017.json"))
    truth.objects[42]                       # the objects of the picture with the id 42
    truth.mask(truth.objects[42][0])        # bool (H, W)

The error for a value that is missing, of another type, doubled or unknown is one sentence with the file and the object. The
content of outlines and run lengths is read when a mask is asked for. `coco_json` reads correct files quickly; all other files
are read here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from perpixel.datasets.coco_json import (
    LARGEST_NUMBER,
    Box,
    InstancesFile,
    ObjectEntry,
    Written,
    plain,
    quick,
    sound_objects,
    written_runs,
)
from perpixel.errors import DataError
from perpixel.files import read_bytes, safe_name
from perpixel.masks.polygons import draw
from perpixel.masks.rle import dense, read_runs, require_size, shown, without_empty
from perpixel.sample import Segment

if TYPE_CHECKING:
    from perpixel.masks.runs import Runs

AT_ONCE = 2048  # objects whose outlines are in memory as numbers together


@dataclass(frozen=True, slots=True)
class ListedPicture:
    """A picture of an annotation file: its id, the name of its file or its path below a folder, and its size in pixels."""

    id: int
    file_name: str
    height: int
    width: int


class Annotated(msgspec.Struct, frozen=True, gc=False):
    """An object: its ids, its outlines or run lengths as the JSON text of the file, and whether it stands for a crowd.

    `area` in pixels and `box` are those of the file, None where the file does not give them."""

    id: int
    picture: ListedPicture
    category: int
    written: Written
    area: float | None
    box: Box | None
    crowd: bool

    @property
    def segmentation(self) -> Any:
        """The outlines, or run lengths with their size, as lists, dictionaries, texts and numbers."""
        return plain(self.written)


@dataclass(frozen=True)
class Annotations:
    """An annotation file: pictures and names of categories by id, in the file's order; the objects of each picture by its id; and
    in `lost` a sentence for each picture that reading left out."""

    path: Path
    pictures: dict[int, ListedPicture]
    categories: dict[int, str]
    objects: dict[int, list[Annotated]]
    lost: tuple[str, ...] = ()

    def mask(self, annotated: Annotated) -> NDArray[np.bool_]:
        """The pixels (H, W) of an object. Raises DataError naming the file and the annotation where they cannot be read."""
        return dense(self._runs(annotated), annotated.picture.height, annotated.picture.width)

    def runs(self, objects: Sequence[Annotated]) -> Runs:
        """The masks of objects as run lengths. Raises the error of `mask` for the first object that cannot be read."""
        from perpixel.masks.runs import one_after_the_other

        return one_after_the_other(
            [self._some_runs(objects[place : place + AT_ONCE]) for place in range(0, len(objects), AT_ONCE)]
        )

    def _some_runs(self, objects: Sequence[Annotated]) -> Runs:
        from perpixel.masks.runs import joined

        sizes = np.array([(entry.picture.height, entry.picture.width) for entry in objects], np.int64)
        runs = written_runs([entry.written for entry in objects], sizes)
        return joined([self._runs(entry) for entry in objects]) if runs is None else runs

    def _runs(self, annotated: Annotated) -> NDArray[np.int64]:
        try:
            return runs_of(annotated.segmentation, annotated.picture.height, annotated.picture.width)
        except ValueError as error:
            raise DataError(f"{self.path}, annotation {annotated.id}: {error}") from None


@dataclass(frozen=True)
class Panoptic:
    """A panoptic annotation file: pictures and names of categories by id; the name of the PNG and the segments by picture id.

    `things` are the ids of categories with countable objects; None where the file does not say this for every category."""

    path: Path
    pictures: dict[int, ListedPicture]
    categories: dict[int, str]
    maps: dict[int, tuple[str, list[Segment]]]
    things: frozenset[int] | None = None


def read_annotations(path: Path, left_out: list[str] | None = None) -> Annotations:
    """Reads `instances_*.json`, or a file that only lists pictures, such as `image_info_test2017.json`.

    Raises DataError, one sentence with the file and the entry, for content that COCO's format does not allow. With a list
    `left_out` wrong annotations and categories are left out, and their sentences are added to the list; wrong pictures are left
    out too, and their sentences are in `Annotations.lost`."""
    data = read_bytes(path)
    file = quick(data, InstancesFile)
    if file is not None:
        content = {"images": file.images, "categories": file.categories}
        lost, wrong = (None, None) if left_out is None else (list[str](), list[str]())
        pictures, categories = _pictures(path, content, lost), _categories(path, content, wrong)
        known = None if lost or wrong else _sound(file.annotations, pictures, categories)
        if known is not None:
            return Annotations(path, pictures, categories, known)
    content = _dictionary(parsed(path, data), str(path))
    lost = None if left_out is None else list[str]()
    pictures, categories = _pictures(path, content, lost), _categories(path, content, left_out)
    objects: dict[int, list[Annotated]] = {id: [] for id in pictures}
    ids: set[int] = set()
    left_out_if_wrong = _WrongLeftOut(left_out)
    for place, entry in enumerate(_entries(path, content, "annotations", required=False)):
        with left_out_if_wrong:
            id = whole(entry, "id", f"{path}, annotation at place {place}")
            where = f"{path}, annotation {id}"
            if id in ids:
                raise DataError(f"{where}: the id occurs twice; give each annotation its own.")
            ids.add(id)
            picture = pictures.get(whole(entry, "image_id", where))
            if picture is None:
                raise DataError(f"{where}: image_id {shown(entry['image_id'])} is no picture of this file; add it to images.")
            category = known_category(entry, categories, where)
            segmentation = entry.get("segmentation")
            segmentation = [] if segmentation is None and left_out is not None else segmentation  # a box alone
            if not isinstance(segmentation, list | dict):
                raise DataError(f"{where}: segmentation is {shown(segmentation)}, not a list of polygons or an RLE.")
            area = None if entry.get("area") is None else number(entry, "area", where)
            if area is not None and area < 0:
                raise DataError(f"{where}: area is {area}; it is in pixels, 0 or more.")
            box = None if entry.get("bbox") is None else box_of(entry, where)
            written = json.dumps(segmentation).encode()
            objects[picture.id].append(Annotated(id, picture, category, written, area, box, _flag(entry, where)))
    return Annotations(path, pictures, categories, objects, tuple(lost or ()))


def _sound(
    entries: list[ObjectEntry], pictures: Mapping[int, ListedPicture], categories: Mapping[int, str]
) -> dict[int, list[Annotated]] | None:
    """The objects of each picture by its id; None where one object is wrong."""
    if not sound_objects(entries) or not {entry.category_id for entry in entries} <= categories.keys():
        return None
    objects: dict[int, list[Annotated]] = {id: [] for id in pictures}
    for entry in entries:
        if entry.image_id not in objects:
            return None
        objects[entry.image_id].append(
            Annotated(
                entry.id, pictures[entry.image_id], entry.category_id, entry.segmentation, entry.area, entry.bbox,
                entry.iscrowd == 1,
            )
        )
    return objects


class _WrongLeftOut:
    """With a list `left_out`, a DataError of the block is not raised: its sentence is added to the list. Else it is raised."""

    def __init__(self, left_out: list[str] | None) -> None:
        self.left_out = left_out

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if self.left_out is None or not isinstance(error, DataError):
            return False
        self.left_out.append(str(error))
        return True


def read_panoptic(path: Path, truth: Panoptic | None = None) -> Panoptic:
    """Reads `panoptic_*.json`, or a results file of the same form, which need not list the pictures and categories of `truth`.

    Where they list their own, these are known by their names, those of pictures without suffix, and have the ids of `truth`.

    Raises DataError, one sentence with the file and the entry, for content that COCO's format does not allow."""
    content = _dictionary(read_json(path), str(path))
    pictures = truth.pictures if truth else _pictures(path, content)
    categories = truth.categories if truth else _categories(path, content)
    own_pictures, own_categories = dict[int, Any](), dict[int, Any]()
    if truth:
        stems = {os.path.splitext(one.file_name)[0]: id for id, one in pictures.items()}
        own_pictures = _by_name(_entries(path, content, "images", required=False), "file_name", stems)
        named = {name: id for id, name in categories.items()}
        own_categories = _by_name(_entries(path, content, "categories", required=False), "name", named)
    maps: dict[int, tuple[str, list[Segment]]] = {}
    for place, entry in enumerate(_entries(path, content, "annotations")):
        id = whole(entry, "image_id", f"{path}, annotation at place {place}")
        where = f"{path}, picture {id}"
        id = own_pictures.get(id, id)
        if id not in pictures or id in maps:
            known = f"{truth.path}; take it out" if truth else "this file; add it to images"
            name = f"{shown(id)} " if isinstance(id, str) else ""
            message = "has two panoptic maps; keep one" if id in maps else f"{name}is no picture of {known}"
            raise DataError(f"{where}: {message}.")
        segments = []
        for info in _entries(path, entry, "segments_info", where):
            category = own_categories.get(whole(info, "category_id", where), info["category_id"])
            if isinstance(category, str):
                raise DataError(f"{where}: {shown(category)} is no category of {truth and truth.path}; judge by one that has it.")
            category = known_category({"category_id": category}, categories, where)
            segments.append(Segment(whole(info, "id", where), category, _flag(info, where)))
        if len({segment.id for segment in segments}) < len(segments):
            raise DataError(f"{where}: two segments have one id; give each its own.")
        maps[id] = _file_name(entry, where), segments
    return Panoptic(path, pictures, categories, maps, truth.things if truth else _things(path, content))


def _by_name(entries: Iterable[Any], key: str, known: Mapping[str, int]) -> dict[int, Any]:
    """Of what a results file lists itself, by its own ids, the ids that are `known` for their names; or the unknown name."""
    named = ((one["id"], one[key]) for one in entries if type(one.get("id")) is int and isinstance(one.get(key), str))
    return {id: known.get(os.path.splitext(name)[0] if key == "file_name" else name, name) for id, name in named}


def _things(path: Path, content: dict[str, Any]) -> frozenset[int] | None:
    """The ids of categories whose `isthing` is 1; None where a category has neither 0 nor 1 there."""
    flags = {entry.get("id"): entry.get("isthing") for entry in _entries(path, content, "categories", required=False)}
    known = all(type(flag) is int and flag in (0, 1) for flag in flags.values())
    return frozenset(id for id, flag in flags.items() if flag and isinstance(id, int)) if known else None


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError where it is missing, damaged, or nested too deep."""
    return parsed(path, read_bytes(path))


def parsed(path: Path, data: bytes) -> Any:
    """The content of the JSON `data` of a file. Raises DataError where it is damaged, or nested too deep."""
    try:
        return json.loads(data)
    except RecursionError:
        raise DataError(f"{path}: is nested too deep to be an annotation file.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: is no JSON ({error}); the file is damaged or cut short.") from None
    except ValueError as error:  # not UTF-8, or a number of thousands of digits
        raise DataError(f"{path}: is no JSON ({error.__class__.__name__}: {str(error)[:80]}).") from None


def runs_of(segmentation: Any, height: int, width: int) -> NDArray[np.int64]:
    """The run lengths of polygons, or of an RLE as a dictionary with `size` and `counts`. Only the first run may be 0 pixels
    long.

    Raises ValueError, one sentence, as `polygons.draw` and `rle.read_runs` do, and for an RLE of another size."""
    if not isinstance(segmentation, dict):
        return draw(segmentation, height, width)
    size = segmentation.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2 or "counts" not in segmentation:
        raise ValueError("an RLE needs size, [height, width], and counts.")
    if (size[0], size[1]) != (height, width):
        raise ValueError(f"the RLE is {shown(size[0])}x{shown(size[1])}, its picture {height}x{width} (height x width).")
    return without_empty(read_runs(segmentation["counts"], height, width))


def whole(entry: Mapping[str, Any], key: str, where: str) -> int:
    """`entry[key]`. Raises DataError unless it is a whole number."""
    value = entry.get(key)
    if type(value) is not int or abs(value) >= 2**63:
        raise DataError(f"{where}: {key} is {shown(value)}, not a whole number.")
    return value


def number(entry: Mapping[str, Any], key: str, where: str) -> float:
    """`entry[key]`. Raises DataError unless it is a finite number."""
    return _finite(entry.get(key), key, where)


def box_of(entry: Mapping[str, Any], where: str) -> Box:
    """The `bbox` of an entry: left, top, width, height. Raises DataError unless they are finite, with sides of 0 or more."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where}: bbox is {shown(box)}, not a list of left, top, width, height.")
    left, top, width, height = (_finite(value, "a number of bbox", where) for value in box)
    if width < 0 or height < 0:
        raise DataError(f"{where}: bbox has the sides {width} and {height}; they are 0 or more.")
    return left, top, width, height


def known_category(entry: Mapping[str, Any], categories: Mapping[int, str], where: str) -> int:
    """The `category_id` of an entry. Raises DataError unless it is one of `categories`."""
    id = whole(entry, "category_id", where)
    if id not in categories:
        raise DataError(f"{where}: category_id {id} is no category of the truth; correct it.")
    return id


def _pictures(path: Path, content: dict[str, Any], lost: list[str] | None = None) -> dict[int, ListedPicture]:
    pictures: dict[int, ListedPicture] = {}
    left_out_if_wrong = _WrongLeftOut(lost)
    for place, entry in enumerate(_entries(path, content, "images")):
        with left_out_if_wrong:
            id = whole(entry, "id", f"{path}, picture at place {place}")
            where = f"{path}, picture {id}"
            if id in pictures:
                raise DataError(f"{where}: the id occurs twice; give each picture its own.")
            height, width = whole(entry, "height", where), whole(entry, "width", where)
            try:
                require_size(height, width)
            except ValueError as error:
                raise DataError(f"{where}: {error}") from None
            pictures[id] = ListedPicture(id, _file_name(entry, where), height, width)
    if len({picture.file_name for picture in pictures.values()}) < len(pictures):
        raise DataError(f"{path}: two pictures have one file_name; give each its own.")
    return pictures


def _categories(path: Path, content: dict[str, Any], left_out: list[str] | None = None) -> dict[int, str]:
    categories: dict[int, str] = {}
    left_out_if_wrong = _WrongLeftOut(left_out)
    for place, entry in enumerate(_entries(path, content, "categories", required=False)):
        with left_out_if_wrong:
            id = whole(entry, "id", f"{path}, category at place {place}")
            name = entry.get("name")
            if id in categories or not isinstance(name, str):
                twice = "the id occurs twice; give each category its own"
                message = twice if id in categories else f"name is {shown(name)}, not a text"
                raise DataError(f"{path}, category {id}: {message}.")
            categories[id] = name
    return categories


def _file_name(entry: Mapping[str, Any], where: str) -> str:
    """The `file_name` of an entry: a relative path with slashes that never leads out of the folder of the pictures."""
    name = entry.get("file_name")
    try:
        return safe_name(name.replace("\\", "/") if isinstance(name, str) else "")
    except DataError:
        raise DataError(f"{where}: file_name is {shown(name)}, not the name of a file, nor a path down to one.") from None


def _flag(entry: Mapping[str, Any], where: str) -> bool:
    value = entry.get("iscrowd", 0)
    if value not in (0, 1) or not isinstance(value, int):
        raise DataError(f"{where}: iscrowd is {shown(value)}, not 0 or 1.")
    return bool(value)


def _finite(value: Any, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST_NUMBER < value < LARGEST_NUMBER:
        raise DataError(f"{where}: {name} is {shown(value)}, not a finite number below 1e15.")
    return float(value)


def _dictionary(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: holds {shown(value)}, not an object with images, annotations and categories.")
    return value


def _entries(path: Path, content: Mapping[str, Any], key: str, where: str = "", required: bool = True) -> list[dict[str, Any]]:
    entries = content.get(key, None if required else [])
    if not isinstance(entries, list):
        raise DataError(f"{where or path}: {key} is {shown(entries)}, not a list.")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"{where or path}: {key} holds {shown(entry)} at place {place}, not an object.")
    return entries
