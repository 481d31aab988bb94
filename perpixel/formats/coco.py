"""COCO JSON: objects of the person's own categories, as outlines, or as run lengths where they are crowds.

    OUT/annotations/instances_SPLIT.json        instances.json where there are no splits
    OUT/images/SPLIT/NAME.jpg                   images/NAME.jpg where there are no splits

Read are a JSON file, or a folder with annotations/instances_*.json or SPLIT/_annotations.coco.json, else with JSON files of any
names that hold objects; pictures lie anywhere below. Objects without outline or label are left out.
Written outlines run along the edges of pixels; what COCO's rule draws of them is the mask itself (`polygons`)."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from perpixel.classes import ClassTable
from perpixel.datasets.coco_annotations import Annotations, Picture, read_annotations, runs_of
from perpixel.errors import DataError
from perpixel.files import files_in, write_whole
from perpixel.formats.exchange import (
    BACKGROUND_NAMES,
    Content,
    Holds,
    Item,
    Shape,
    Source,
    Told,
    drawn,
    failing,
    label_of,
    shapes,
    table_of,
)
from perpixel.formats.pictures import (
    Pictures,
    bare,
    json_or_none,
    named,
    parts_of,
    put_picture,
    require_picture_size,
    split_in,
    together,
)
from perpixel.images import read_size
from perpixel.masks.polygons import outlines
from perpixel.masks.rle import runs

HOLDS = Holds(overlap=True, crowd=True, void=False)
ROBOFLOW = "_annotations.coco.json"
LINE = 4  # numbers that are two points at most
LISTS = ("images", "annotations", "categories")


def files(path: Path) -> list[Path]:
    """The annotation files of objects that `path` is, or holds, by their names."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    return [file for file in _nearby(path) if file.name.lower() == ROBOFLOW or file.name.lower().startswith("instances")]


def files_by_content(path: Path) -> list[Path]:
    """The annotation files of objects that a folder holds whatever their names, as `result.json`."""
    return [file for file in _nearby(path) if is_coco(json_or_none(file))]


def is_coco(content: Any) -> bool:
    """Whether a JSON file lists pictures, categories and objects; panoptic maps and captions are none."""
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in LISTS):
        return False
    first: Any = next(iter(content["annotations"]), {})
    return isinstance(first, dict) and "segments_info" not in first


def _nearby(path: Path) -> list[Path]:
    """The JSON files of a folder and of the folders directly in it."""
    return [file for file in files_in(path, depth=2) if file.suffix.lower() == ".json"]


def read(path: Path, pictures: Path | None) -> Source:
    """Entries that are wrong are left out and told, pictures by name. Raises DataError for files whose categories differ, or two
    of which share a name and both have objects."""
    told, left_out = Told(), list[str]()
    found = [read_annotations(file, left_out) for file in files(path) or (files_by_content(path) if path.is_dir() else [])]
    if not found:
        raise DataError(f"{path}: holds no JSON with {', '.join(LISTS)}; name the file, or put it there or into annotations/.")
    for one in found[1:]:
        if one.categories != found[0].categories:
            raise DataError(f"{one.path}: has other categories than {found[0].path}; give both the same ids and names.")
    if left_out:
        told.notes.append(f"{len(left_out)} annotations or categories are left out, the first: {left_out[0]}")
    names = _names(found, told)
    classes = table_of(name for name in names.values() if name)
    items = []
    for one in found:
        below = Pictures(pictures or _above(one.path, path))
        split = split_in(one.path.parent.name if one.path.name.lower() == ROBOFLOW else one.path.stem)
        names_of = [picture.file_name for picture in one.pictures.values()]
        outer = all(name.startswith("images/") for name in names_of)  # as Label Studio writes it
        items += [Item(f"{split} {number}", split, failing(DataError(lost))) for number, lost in enumerate(one.lost)]
        for picture in sorted(one.pictures.values(), key=lambda picture: picture.id):
            where = f"{one.path}, picture {picture.id}"
            try:
                parts = parts_of(picture.file_name, where)
                name, own = named(bare(parts[1:] if outer else parts), split)
            except DataError as error:
                items.append(Item(picture.file_name, split, failing(error)))
                continue
            items.append(Item(name, own, partial(_content, one, picture, own, below, names, classes, told)))
    return Source(classes, items, told)


def _names(found: list[Annotations], told: Told) -> dict[int, str]:
    """The label of each category id, empty where it has none. Of categories of one name those that no object has are left out.

    Raises DataError for two that objects have."""
    where = str(found[0].path)
    names = {id: label_of(name, f"{where}, category {id}") for id, name in found[0].categories.items()}
    used = {one.category for truth in found for objects in truth.objects.values() for one in objects}
    for name, count in Counter(names.values()).items():
        twins = [id for id, other in names.items() if other == name]
        kept = [id for id in twins if id in used] or twins[:1]
        if count > 1 and name and len(kept) > 1:
            raise DataError(f"{where}: two categories, {kept[0]} and {kept[1]}, have the name {name!r}; give each its own.")
        for id in twins if count > 1 and name else ():
            if id not in kept:
                told.notes.append(f"The category {id}, {name!r}, is left out: no object has it, and {kept[0]} has its name.")
                del names[id]
    return names


def _above(file: Path, path: Path) -> Path:
    """The folder below which pictures are looked for, where nobody names one."""
    if path.is_dir():
        return path
    return file.parent.parent if file.parent.name.lower() == "annotations" else file.parent


def _content(
    truth: Annotations, picture: Picture, split: str, below: Pictures, names: dict[int, str], classes: ClassTable, told: Told
) -> Content:
    where, objects = f"{truth.path}, picture {picture.id}", truth.objects[picture.id]
    path = below.find(picture.file_name, where, split)
    size = (picture.height, picture.width)
    require_picture_size(path, size, where)
    found = []
    for one in objects:
        label, outlined = names[one.category], one.segmentation
        if isinstance(outlined, list) and outlined and all(isinstance(value, int | float) for value in outlined):
            told.add("flat", picture.file_name)
            outlined = [outlined]
        if isinstance(outlined, list):
            outlined = [polygon for polygon in outlined if not isinstance(polygon, list) or len(polygon) > LINE]
        if not label or not outlined:
            told.add("no label" if not label else "no area", picture.file_name)
            continue
        try:
            found.append(Shape.of_runs(label, runs_of(outlined, *size), size, one.crowd))
        except ValueError as error:
            raise DataError(f"{truth.path}, annotation {one.id}: {error}") from None
    return Content(path, *drawn(found, classes, size, HOLDS.ordered))


class Writer:
    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None:
        self.out, self.classes, self.told = out, classes, told
        self.pictures: dict[str, list[dict[str, Any]]] = {}
        self.objects: dict[str, list[dict[str, Any]]] = {}

    def add(self, name: str, split: str, content: Content) -> None:
        folder = self.out / "images" / split
        with together() as written:
            path = put_picture(content.picture, folder, name, self.told, written)
            height, width = read_size(path)
            objects = [self._object(shape, height, width) for shape in shapes(content, self.classes, HOLDS, self.told, name)]
        pictures, listed = self.pictures.setdefault(split, []), self.objects.setdefault(split, [])
        file_name = path.relative_to(folder).as_posix()
        pictures.append({"id": len(pictures) + 1, "file_name": file_name, "height": height, "width": width})
        for one in objects:
            listed.append({"id": len(listed) + 1, "image_id": len(pictures), **one})

    def _object(self, shape: Shape, height: int, width: int) -> dict[str, Any]:
        at, pixels = shape.at, shape.at.pixels
        segmentation: Any = outlines(pixels, at.left, at.top)
        if shape.crowd:
            segmentation = {"size": [height, width], "counts": runs(at.mask)}
        return {
            "category_id": self.classes.names.index(shape.label) + 1, "iscrowd": int(shape.crowd), "area": int(pixels.sum()),
            "bbox": [at.left, at.top, at.shape[1], at.shape[0]], "segmentation": segmentation,
        }  # fmt: skip

    def close(self) -> None:
        categories = [
            {"id": id, "name": name, "supercategory": ""}
            for id, name in enumerate(self.classes.names, start=1)
            if name.lower() not in BACKGROUND_NAMES
        ]
        for split, pictures in self.pictures.items():
            content = {"images": pictures, "annotations": self.objects[split], "categories": categories}
            name = f"instances_{split}.json" if split else "instances.json"
            write_whole(self.out / "annotations", name, json.dumps(content).encode())
