"""The formats of data sets that `convert` reads and writes. A new format costs one file here and one line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perpixel.classes import ClassTable
from perpixel.datasets.coco_annotations import read_json
from perpixel.errors import DataError, did_you_mean
from perpixel.formats import cityscapes, coco, cvat, folder, label_studio, labelme, voc, yolo
from perpixel.formats.exchange import AnnotatedSet, Holds, Notices, Writer
from perpixel.formats.pictures import read_json_or_none


@dataclass(frozen=True)
class Format:
    """A format of data sets: what it holds, how it is read, and how it is written."""

    title: str
    holds: Holds
    read: Callable[[Path, Path | None], AnnotatedSet]  # from a path, and the folder of its pictures if they lie elsewhere
    writer: Callable[[Path, ClassTable, Notices], Writer]
    splits: bool = False  # each picture must belong to a split


FEW = 10  # files that are opened to see whether a folder has this format

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
    """The name of the format of `path`, a file or a folder, recognised by its files. Raises DataError where no format fits."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    if not path.is_dir():
        return _format_of_file(path)
    has_masks = (path / "images").is_dir() and any((path / kind).is_dir() for kind in ("masks", "instances"))
    signs: list[tuple[str, Callable[[], object]]] = [  # in the order in which they decide
        ("cityscapes", (path / "leftImg8bit").is_dir),
        ("voc", (path / voc.MASKS).is_dir),
        ("folder", lambda: (path / "pairs.csv").is_file() or (has_masks and (path / "classes.csv").is_file())),
        ("cvat", cvat.file_of(path).is_file),
        ("coco", lambda: coco.files(path)),
        ("yolo", lambda: yolo.table(path)),
        ("label-studio", lambda: label_studio.file_of(path)),
        ("folder", lambda: has_masks),
        ("labelme", lambda: any(labelme.is_labelme(read_json_or_none(file)) for file in labelme.files(path)[:FEW])),
        ("coco", lambda: coco.files_by_content(path)),
        ("yolo", lambda: yolo.has_labels_without_names(path)),
        ("label-studio", lambda: label_studio.file_by_content(path)),
    ]
    for name, is_there in signs:
        if is_there():
            return name
    raise DataError(f"{path}: its files show none of the known formats; name the format with --from ({', '.join(FORMATS)}).")


def annotations_of(folder: Path) -> str | None:
    """The format of the annotations in a folder; none where there are none, or where they are masks."""
    try:
        name = format_of(folder)
    except DataError:
        return None
    if FORMATS[name].holds.maps or (name == "yolo" and not yolo.has_labels(folder)):
        return None
    return name


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
        if isinstance(content, list):  # of tasks. Its reader refuses other lists, such as JSON-MIN
            return "label-studio"
        if isinstance(content, dict) and "images" in content:
            return "coco"
    raise DataError(f"{path}: is an annotation file of no known form; name its format with --from ({', '.join(FORMATS)}).")


def find_format(name: str) -> Format:
    """The format `name`. Raises UnknownName where there is none."""
    if name not in FORMATS:
        raise did_you_mean("format", name, FORMATS)
    return FORMATS[name]
