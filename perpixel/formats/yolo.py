"""YOLO's polygons, one object a line: the class, then x, y of its corners as parts of the picture's width and height.

    OUT/data.yaml                       path, train, val, test, names
    OUT/images/SPLIT/NAME.jpg
    OUT/labels/SPLIT/NAME.txt           an empty file, or none, where there is no object

The format does not say which pixels a polygon means; here it is COCO's rule (`polygons`), which takes no pixel away from masks
that are written and read again. Trainers that draw with OpenCV make each object half a pixel larger all round. An object of
several pieces is one polygon, its pieces joined by bridges of no width, as holes are. Without data.yaml, classes.txt names the
classes, one a line."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from perpixel.classes import ClassTable
from perpixel.datasets.folder import files_below
from perpixel.errors import DataError
from perpixel.exchange import BACKGROUND_NAMES, Content, Holds, Item, Shape, Source, Told, drawn, shapes, table_of
from perpixel.files import write_whole
from perpixel.formats.pictures import named, put_picture
from perpixel.images import PICTURE_SUFFIXES, read_size
from perpixel.pairing import SPLIT_WORDS
from perpixel.polygons import fill, outlines
from perpixel.rle import shown

HOLDS = Holds(overlap=True, crowd=False, void=False)
BEYOND = 1.0  # coordinates may lie outside of the picture by so much of it


def table(path: Path) -> Path | None:
    """The file that names the classes of the data set that `path` is, or holds."""
    if path.is_file():
        return path if path.suffix in (".yaml", ".yml") else None
    places = [*(path / name for name in ("data.yaml", "dataset.yaml")), *sorted(path.glob("*.yaml")), path / "classes.txt",
              path / "labels" / "classes.txt"]  # fmt: skip
    return next((place for place in places if place.is_file()), None)


def read(path: Path, pictures: Path | None) -> Source:
    """Raises DataError for a table without names, splits that are no folders of pictures below it, or no pictures at all."""
    names_of = table(path)
    if names_of is None:
        raise DataError(f"{path}: has no data.yaml and no classes.txt; add one that names the classes.")
    names, folders = _yaml(names_of) if names_of.suffix in (".yaml", ".yml") else (_lines(names_of), {})
    if len(set(names)) < len(names):
        raise DataError(f"{names_of}: two classes have one name; give each its own.")
    classes, told = table_of(names), Told()
    root = path if path.is_dir() else path.parent
    if not folders:
        folders = {"": [root / "images"]}
    items = []
    for split, places in folders.items():
        for place in places:
            for key, found in files_below(place, PICTURE_SUFFIXES).items():
                name, own = named(key.split("/"), split)
                labels = _labels_of(place, root) / f"{key}.txt"
                items.append(Item(name, own, partial(_content, found[0], labels, names, classes, told)))
    if not items:
        raise DataError(
            f"{path}: there is no picture in {', '.join(str(p) for ps in folders.values() for p in ps)}; put them there."
        )
    return Source(classes, items, told)


def _labels_of(images: Path, root: Path) -> Path:
    """Where the labels of a folder of pictures lie: `labels` in place of the last `images` below the root."""
    parts = list(images.relative_to(root).parts)
    places = [place for place, part in enumerate(parts) if part == "images"]
    if not places:
        return images
    parts[places[-1]] = "labels"
    return root.joinpath(*parts)


def _content(picture: Path, labels: Path, names: list[str], classes: ClassTable, told: Told) -> Content:
    height, width = read_size(picture)
    found = []
    if labels.is_file():
        for number, line in enumerate(_lines(labels), start=1):
            where = f"{labels}, line {number}"
            words = line.split()
            if len(words) == 5:
                told.add("no area", labels.stem)
                continue
            label, corners = _line(words, names, where)
            corners *= np.tile([width, height], len(corners) // 2)
            try:
                found.append(Shape.of(label, fill([corners.tolist()], height, width)))
            except ValueError as error:
                raise DataError(f"{where}: {error}") from None
    return Content(picture, *drawn(found, classes, (height, width), HOLDS.ordered))


def _line(words: list[str], names: list[str], where: str) -> tuple[str, np.ndarray]:
    """The label and the corners x, y, x, y ... of a line."""
    if not words[0].isdecimal() or len(words[0]) > 9 or int(words[0]) >= len(names):
        raise DataError(f"{where}: begins with {words[0][:40]!r}; a class is a whole number 0..{len(names) - 1}.")
    if len(words) < 7 or len(words) % 2 == 0:
        raise DataError(f"{where}: has {len(words) - 1} coordinates; a polygon needs x and y of three corners or more.")
    try:
        corners = np.array([float(word) for word in words[1:]])
    except ValueError:
        raise DataError(f"{where}: holds {next(w for w in words[1:] if not _is_number(w))[:40]!r}, not a number.") from None
    wrong = ~((corners >= -BEYOND) & (corners <= 1 + BEYOND))  # nor nan
    if wrong.any():
        raise DataError(f"{where}: has the coordinate {corners[wrong][0]}; they are parts of the picture's sides, 0 to 1.")
    return names[int(words[0])], corners


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    """The lines that are not empty."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; save it as UTF-8.") from None


def _yaml(path: Path) -> tuple[list[str], dict[str, list[Path]]]:
    """The names, and the folders of pictures of each split."""
    try:
        content: Any = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no YAML ({' '.join(str(error).split())[:120]}); correct it.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds {shown(content)}, not names and folders.")
    names = content.get("names")
    if isinstance(names, dict) and all(type(key) is int for key in names) and sorted(names) == list(range(len(names))):
        names = [names[key] for key in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        raise DataError(f"{path}: names is {shown(names)}; it must be a list of names, or one by the numbers 0, 1, 2 ...")
    folders = {}
    for key in ("train", "val", "valid", "test"):
        value = content.get(key)
        if value is not None:
            listed = value if isinstance(value, list) else [value]
            folders[SPLIT_WORDS[key]] = [_below(path, content.get("path"), one, key) for one in listed]
    return [str(name) for name in names], folders


def _below(path: Path, base: Any, value: Any, key: str) -> Path:
    """The folder of a split: below the file's own, whatever leads out of it left away, as exports write `../train/images`."""
    if not isinstance(value, str) or (base is not None and not isinstance(base, str)):
        raise DataError(f"{path}: {key} is {shown(value)}; it must be a folder of pictures.")
    root = path.parent
    parts = [part for part in value.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    leading = [part for part in (base or "").replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for kept in itertools.chain((root.joinpath(*leading[n:], *parts) for n in range(len(leading) + 1)),
                                (root.joinpath(*parts[n:]) for n in range(1, len(parts)))):  # fmt: skip
        if kept.is_dir():
            return kept
    raise DataError(f"{path}: {key} is {value[:200]!r}, which is no folder of pictures below {root}; correct it.")


class Writer:
    def __init__(self, out: Path, classes: ClassTable, told: Told) -> None:
        self.out, self.classes, self.told = out, classes, told
        self.names = [name for name in classes.names if name.lower() not in BACKGROUND_NAMES]
        self.splits: set[str] = set()

    def add(self, name: str, split: str, content: Content) -> None:
        self.splits.add(split)
        path = put_picture(content.picture, self.out / "images" / split, name, self.told)
        height, width = read_size(path)
        lines = []
        for shape in shapes(content, self.classes, HOLDS, self.told, name):
            corners = _joined(outlines(shape.crop, shape.left, shape.top)).reshape(-1, 2) / (width, height)
            lines.append(f"{self.names.index(shape.label)} {' '.join(map(repr, corners.ravel().tolist()))}\n")
        write_whole(self.out / "labels" / split, f"{name}.txt", "".join(lines).encode(), durable=False)

    def close(self) -> None:
        folders: dict[str, Any] = {split: f"images/{split}" for split in ("train", "val", "test") if split in self.splits}
        content = {"path": ".", **folders, "names": dict(enumerate(self.names))}
        write_whole(self.out, "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _joined(polygons: list[list[float]]) -> np.ndarray:
    """One polygon x, y, x, y ... of several: from the first corner of the first to each other, round it, and back."""
    first, *others = [np.array(polygon).reshape(-1, 2) for polygon in polygons]
    bridges = [part for walk in others for part in (first[:1], walk, walk[:1])]
    return np.concatenate([first, *bridges]).ravel()
