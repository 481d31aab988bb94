"""The formats that data sets come in and leave in. Adding one costs a file here and a line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perpixel.classes import ClassTable
from perpixel.datasets.coco_annotations import read_json
from perpixel.errors import DataError, did_you_mean
from perpixel.formats import cityscapes, coco, cvat, folder, label_studio, labelme, voc, yolo
from perpixel.formats.exchange import Holds, Source, Told, Writer
from perpixel.formats.pictures import json_or_none


@dataclass(frozen=True)
class Format:
    """How a data set of some format is read from a path, with the folder of its pictures if they lie elsewhere, and written.

    `splits`: it has no place for pictures of no split."""

    what: str
    holds: Holds
    read: Callable[[Path, Path | None], Source]
    writer: Callable[[Path, ClassTable, Told], Writer]
    splits: bool = False


FEW = 10  # files that are looked into before a folder counts as of another format

FORMATS: dict[str, Format] = {
    "folder": Format("perpixel's own: images/, masks/, instances/, classes.csv", folder.HOLDS, folder.read, folder.Writer),
    "coco": Format("COCO JSON of objects", coco.HOLDS, coco.read, coco.Writer),
    "voc": Format("PASCAL VOC palette PNG", voc.HOLDS, voc.read, voc.Writer, splits=True),
    "cityscapes": Format("Cityscapes label and instance ids", cityscapes.HOLDS, cityscapes.read, cityscapes.Writer, splits=True),
    "yolo": Format("YOLO polygons", yolo.HOLDS, yolo.read, yolo.Writer, splits=True),
    "labelme": Format("labelme JSON", labelme.HOLDS, labelme.read, labelme.Writer),
    "cvat": Format("CVAT for images 1.1, XML", cvat.HOLDS, cvat.read, cvat.Writer),
    "label-studio": Format("Label Studio JSON of brushes", label_studio.HOLDS, label_studio.read, label_studio.Writer),
}


def format_of(path: Path) -> str:
    """The name of the format that `path`, a file or a folder, is in, by what lies there. Raises DataError where none fits."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    if not path.is_dir():
        return _format_of_file(path)
    of_masks = (path / "images").is_dir() and any((path / kind).is_dir() for kind in ("masks", "instances"))
    lies_there: list[tuple[str, Callable[[], object]]] = [
        ("cityscapes", (path / "leftImg8bit").is_dir),
        ("voc", (path / voc.MASKS).is_dir),
        ("folder", lambda: (path / "pairs.csv").is_file() or (of_masks and (path / "classes.csv").is_file())),
        ("cvat", cvat.file_of(path).is_file),
        ("coco", lambda: coco.files(path)),
        ("yolo", lambda: yolo.table(path)),
        ("label-studio", lambda: label_studio.file_of(path)),
        ("folder", lambda: of_masks),
        ("labelme", lambda: any(labelme.is_labelme(json_or_none(file)) for file in labelme.files(path)[:FEW])),
        ("coco", lambda: coco.files_by_content(path)),
        ("label-studio", lambda: label_studio.file_by_content(path)),
    ]
    for name, found in lies_there:
        if found():
            return name
    raise DataError(f"{path}: is in no format that is known by what lies there; name it with --from ({', '.join(FORMATS)}).")


def _format_of_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return "cvat"
    if suffix in yolo.YAML:
        return "yolo"
    if suffix == ".json":
        content = read_json(path)
        if labelme.is_labelme(content):
            return "labelme"
        if isinstance(content, list):  # of tasks; what else it may be, such as JSON-MIN, is said by who reads it
            return "label-studio"
        if isinstance(content, dict) and "images" in content:
            return "coco"
    raise DataError(f"{path}: is no annotation file that is known; name its format with --from ({', '.join(FORMATS)}).")


def find_format(name: str) -> Format:
    """The format of that name. Raises UnknownName without one."""
    if name not in FORMATS:
        raise did_you_mean("format", name, FORMATS)
    return FORMATS[name]
