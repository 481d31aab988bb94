"""COCO JSON: objects of the person's own categories, as outlines, or as run lengths where they are crowds.

    OUT/annotations/instances_SPLIT.json        instances.json where there are no splits
    OUT/images/SPLIT/NAME.jpg                   images/NAME.jpg where there are no splits

It reads a JSON file, or a folder with annotations/instances_*.json or SPLIT/_annotations.coco.json. In a folder without these,
it reads JSON files of any name that hold objects. Pictures may lie anywhere below. Objects without outline or label are left out.
Written outlines run along the edges of pixels, so COCO's rule draws the same mask from them (`polygons`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from perpixel.classes import ClassTable
from perpixel.datasets.coco_annotations import Annotations, ListedPicture, read_annotations, runs_of
from perpixel.errors import DataError
from perpixel.files import files_in, write_whole
from perpixel.formats.exchange import (
    BACKGROUND_NAMES,
    AnnotatedSet,
    Content,
    Entry,
    Holds,
    Item,
    Notices,
    Shape,
    draw_shapes,
    failing,
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
    read_json_or_none,
    require_picture_size,
    split_of_name,
    without_suffix,
)
from perpixel.images import read_size
from perpixel.masks.polygons import outlines
from perpixel.masks.rle import runs

HOLDS = Holds(overlap=True, crowd=True, void=False)
ROBOFLOW = "_annotations.coco.json"
LINE = 4  # an outline of at most four numbers has two points and no area
LISTS = ("images", "annotations", "categories")


def files(path: Path) -> list[Path]:
    """The annotation files of objects in the folder `path`, by their names, or `path` itself if it is a JSON file."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    return [file for file in _nearby(path) if file.name.lower() == ROBOFLOW or file.name.lower().startswith("instances")]


def files_by_content(path: Path) -> list[Path]:
    """The annotation files of objects in a folder, by their content, so that a name like `result.json` is accepted too."""
    return [file for file in _nearby(path) if is_coco(read_json_or_none(file))]


def is_coco(content: Any) -> bool:
    """Whether the content of a JSON file lists pictures, categories and objects. Panoptic maps and captions do not count."""
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in LISTS):
        return False
    first: Any = next(iter(content["annotations"]), {})
    return isinstance(first, dict) and "segments_info" not in first


def _nearby(path: Path) -> list[Path]:
    """The JSON files in a folder and in its subfolders, not deeper."""
    return [file for file in files_in(path, depth=2) if file.suffix.lower() == ".json"]


def read(path: Path, pictures: Path | None) -> AnnotatedSet:
    """Reads COCO files. Wrong entries are left out and noted; wrong pictures are reported by name.

    Raises DataError for files with different categories, and for two categories of one name that both have objects."""
    notices, left_out = Notices(), list[str]()
    truths = [read_annotations(file, left_out) for file in files(path) or (files_by_content(path) if path.is_dir() else [])]
    if not truths:
        raise DataError(f"{path}: holds no JSON with {', '.join(LISTS)}; name the file, or put it there or into annotations/.")
    for truth in truths[1:]:
        if truth.categories != truths[0].categories:
            raise DataError(f"{truth.path}: has other categories than {truths[0].path}; give both the same ids and names.")
    if left_out:
        notices.notes.append(f"{len(left_out)} annotations or categories are left out, the first: {left_out[0]}")
    names = _names(truths, notices)
    classes = table_of(name for name in names.values() if name)
    items = []
    for truth in truths:
        finder = PictureFinder(pictures or _above(truth.path, path))
        split = split_of_name(truth.path.parent.name if truth.path.name.lower() == ROBOFLOW else truth.path.stem)
        names_of = [picture.file_name for picture in truth.pictures.values()]
        outer = all(name.startswith("images/") for name in names_of)  # Label Studio writes this folder before each name
        items += [Item(f"{split} {number}", split, failing(DataError(lost))) for number, lost in enumerate(truth.lost)]
        for picture in sorted(truth.pictures.values(), key=lambda picture: picture.id):
            where = f"{truth.path}, picture {picture.id}"
            try:
                parts = path_parts(picture.file_name, where)
                name, own = name_and_split(without_suffix(parts[1:] if outer else parts), split)
            except DataError as error:
                items.append(Item(picture.file_name, split, failing(error)))
                continue
            items.append(Item(name, own, partial(_content, truth, picture, own, finder, names, classes, notices)))
    return AnnotatedSet(classes, items, notices)


def _names(truths: list[Annotations], notices: Notices) -> dict[int, str]:
    """The label of each category id. Empty where the category has no name.

    Of categories of one name, those without objects are left out. Raises DataError where two of them have objects."""
    where = str(truths[0].path)
    names = {id: label_of(name, f"{where}, category {id}") for id, name in truths[0].categories.items()}
    used = {object_entry.category for truth in truths for objects in truth.objects.values() for object_entry in objects}
    for name, count in Counter(names.values()).items():
        twins = [id for id, other in names.items() if other == name]
        kept = [id for id in twins if id in used] or twins[:1]
        if count > 1 and name and len(kept) > 1:
            raise DataError(f"{where}: two categories, {kept[0]} and {kept[1]}, have the name {name!r}; give each its own.")
        for id in twins if count > 1 and name else ():
            if id not in kept:
                notices.notes.append(f"The category {id}, {name!r}, is left out: no object has it, and {kept[0]} has its name.")
                del names[id]
    return names


def _above(file: Path, path: Path) -> Path:
    """The folder below which pictures are searched, where the user names none."""
    if path.is_dir():
        return path
    return file.parent.parent if file.parent.name.lower() == "annotations" else file.parent


def _content(
    truth: Annotations,
    picture: ListedPicture,
    split: str,
    finder: PictureFinder,
    names: dict[int, str],
    classes: ClassTable,
    notices: Notices,
) -> Content:
    where, objects = f"{truth.path}, picture {picture.id}", truth.objects[picture.id]
    path = finder.find(picture.file_name, where, split)
    size = (picture.height, picture.width)
    require_picture_size(path, size, where)
    shapes = []
    for object_entry in objects:
        label, outlined = names[object_entry.category], object_entry.segmentation
        if isinstance(outlined, list) and outlined and all(isinstance(value, int | float) for value in outlined):
            notices.add("flat", picture.file_name)
            outlined = [outlined]
        if isinstance(outlined, list):
            outlined = [polygon for polygon in outlined if not isinstance(polygon, list) or len(polygon) > LINE]
        if not label or not outlined:
            notices.add("no label" if not label else "no area", picture.file_name)
            continue
        try:
            shapes.append(Shape.of_runs(label, runs_of(outlined, *size), size, object_entry.crowd))
        except ValueError as error:
            raise DataError(f"{truth.path}, annotation {object_entry.id}: {error}") from None
    return Content(path, *draw_shapes(shapes, classes, size, HOLDS.ordered))


def entries_of(shapes: Iterable[Shape], file_name: str, size: tuple[int, int], classes: ClassTable) -> dict[str, Any]:
    """The entries of a picture of `size` (height, width) and of its objects, without their ids."""
    picture = {"file_name": file_name, "height": size[0], "width": size[1]}
    return {"picture": picture, "objects": [_object(shape, size, classes) for shape in shapes]}


def _object(shape: Shape, size: tuple[int, int], classes: ClassTable) -> dict[str, Any]:
    crop, pixels = shape.crop, shape.crop.pixels
    segmentation: Any = outlines(pixels, crop.left, crop.top)
    if shape.crowd:
        segmentation = {"size": list(size), "counts": runs(crop.mask)}
    return {
        "category_id": classes.names.index(shape.label) + 1, "iscrowd": int(shape.crowd), "area": int(pixels.sum()),
        "bbox": [crop.left, crop.top, crop.shape[1], crop.shape[0]], "segmentation": segmentation,
    }  # fmt: skip


def encode(contents: Iterable[dict[str, Any]], classes: ClassTable) -> bytes:
    """The annotation file of pictures whose entries `entries_of` made. Ids count from 1 in their order."""
    pictures, objects = list[dict[str, Any]](), list[dict[str, Any]]()
    for content in contents:
        pictures.append({"id": len(pictures) + 1, **content["picture"]})
        for of_object in content["objects"]:
            objects.append({"id": len(objects) + 1, "image_id": len(pictures), **of_object})
    categories = [
        {"id": id, "name": name, "supercategory": ""}
        for id, name in enumerate(classes.names, start=1)
        if name.lower() not in BACKGROUND_NAMES
    ]
    return json.dumps({"images": pictures, "annotations": objects, "categories": categories}).encode()


class Writer:
    def __init__(self, out: Path, classes: ClassTable, notices: Notices) -> None:
        self.out, self.classes, self.notices = out, classes, notices

    def add(self, name: str, split: str, content: Content, number: int) -> dict[str, Any]:
        """The entries of a picture and of its objects, without their ids."""
        folder = self.out / "images" / split
        with all_or_none() as written:
            path = put_picture(content.picture, folder, name, self.notices, written)
            height, width = read_size(path)
            shapes = shapes_of(content, self.classes, HOLDS, self.notices, name)
            return entries_of(shapes, path.relative_to(folder).as_posix(), (height, width), self.classes)

    def close(self, entries: Sequence[Entry]) -> None:
        splits: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            splits.setdefault(entry.split, []).append(entry.content)
        for split, contents in splits.items():
            name = f"instances_{split}.json" if split else "instances.json"
            write_whole(self.out / "annotations", name, encode(contents, self.classes))
