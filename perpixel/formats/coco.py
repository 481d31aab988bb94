"""COCO JSON: objects of the person's own categories, as outlines, or as run lengths where they are crowds.

    OUT/annotations/instances_SPLIT.json        instances.json where there are no splits
    OUT/images/SPLIT/NAME.jpg                   images/NAME.jpg where there are no splits

Read are a JSON file, or a folder with annotations/instances_*.json or SPLIT/_annotations.coco.json; pictures lie anywhere below.
Written outlines run along the edges of pixels; what COCO's rule draws of them is the mask itself (`polygons`)."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from perpixel.annotations import Annotations, Picture, read_annotations
from perpixel.classes import ClassTable
from perpixel.errors import DataError
from perpixel.exchange import BACKGROUND_NAMES, Content, Holds, Item, Shape, Source, Told, drawn, shapes, table_of
from perpixel.files import write_whole
from perpixel.formats.pictures import Pictures, bare, named, parts_of, put_picture, require_picture_size, split_in
from perpixel.images import read_size
from perpixel.polygons import outlines
from perpixel.rle import runs

HOLDS = Holds(overlap=True, crowd=True, void=False)
ROBOFLOW = "_annotations.coco.json"


def files(path: Path) -> list[Path]:
    """The annotation files of objects that `path` is, or holds."""
    if path.is_file():
        return [path] if path.suffix == ".json" else []
    return sorted([*path.glob("instances*.json"), *path.glob("annotations/instances*.json"), *path.glob(f"*/{ROBOFLOW}"),
                   *path.glob(ROBOFLOW)])  # fmt: skip


def read(path: Path, pictures: Path | None) -> Source:
    """Raises DataError naming the file and the entry that is wrong, and for files whose categories differ."""
    found = [read_annotations(file) for file in files(path)]
    for one in found[1:]:
        if one.categories != found[0].categories:
            raise DataError(f"{one.path}: has other categories than {found[0].path}; give both the same ids and names.")
    names = list(found[0].categories.values())
    if len(set(names)) < len(names):
        raise DataError(f"{found[0].path}: two categories have one name; give each its own.")
    classes = table_of(names)
    told = Told()
    items = []
    for one in found:
        below = Pictures(pictures or _above(one.path, path))
        split = split_in(one.path.parent.name if one.path.name == ROBOFLOW else one.path.stem)
        for picture in sorted(one.pictures.values(), key=lambda picture: picture.id):
            name, own = named(bare(parts_of(picture.file_name, str(one.path))), split)
            items.append(Item(name, own, partial(_content, one, picture, own, below, classes, told)))
    return Source(classes, items, told)


def _above(file: Path, path: Path) -> Path:
    """The folder below which pictures are looked for, where nobody names one."""
    if path.is_dir():
        return path
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _content(truth: Annotations, picture: Picture, split: str, below: Pictures, classes: ClassTable, told: Told) -> Content:
    where, objects = f"{truth.path}, picture {picture.id}", truth.objects[picture.id]
    path = below.find(picture.file_name, where, split)
    size = (picture.height, picture.width)
    require_picture_size(path, size, where)
    found = [Shape.of(truth.categories[one.category], truth.mask(one), one.crowd) for one in objects if one.segmentation]
    told.add("no area", picture.file_name, len(objects) - len(found))
    return Content(path, *drawn(found, classes, size, HOLDS.ordered))


class Writer:
    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None:
        self.out, self.classes, self.told = out, classes, told
        self.pictures: dict[str, list[dict[str, Any]]] = {}
        self.objects: dict[str, list[dict[str, Any]]] = {}

    def add(self, name: str, split: str, content: Content) -> None:
        folder = self.out / "images" / split
        path = put_picture(content.picture, folder, name, self.told)
        height, width = read_size(path)
        pictures, objects = self.pictures.setdefault(split, []), self.objects.setdefault(split, [])
        picture = {"id": len(pictures) + 1, "file_name": path.relative_to(folder).as_posix(), "height": height, "width": width}
        pictures.append(picture)
        for shape in shapes(content, self.classes, HOLDS, self.told, name):
            segmentation: Any = outlines(shape.crop, shape.left, shape.top)
            if shape.crowd:
                segmentation = {"size": [height, width], "counts": runs(shape.mask)}
            objects.append({
                "id": len(objects) + 1, "image_id": picture["id"], "category_id": self.classes.names.index(shape.label) + 1,
                "iscrowd": int(shape.crowd), "area": int(shape.crop.sum()),
                "bbox": [shape.left, shape.top, shape.crop.shape[1], shape.crop.shape[0]], "segmentation": segmentation,
            })  # fmt: skip

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
